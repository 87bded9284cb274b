package conformance

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// listen serves each connection at address with handle until the end of the
// check. At the end connections are closed and handlers waited for.
func (t *trial) listen(address string, handle func(*net.TCPConn)) framework.Addr {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.skipf("listen at %s: %v", address, err)
	}
	s := &target{open: map[*net.TCPConn]bool{}}
	s.running.Go(func() { s.accept(l, handle) }) // ends when l is closed
	t.cleanup(func() {
		l.Close()
		s.end()
		s.running.Wait()
	})
	return framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
}

// target is a destination, or a hostile server.
type target struct {
	running sync.WaitGroup

	mu     sync.Mutex // guards below
	open   map[*net.TCPConn]bool
	closed bool
}

func (s *target) accept(l net.Listener, handle func(*net.TCPConn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn := c.(*net.TCPConn)
		if !s.add(conn) {
			continue
		}
		s.running.Go(func() { // ends when conn is closed
			defer s.drop(conn)
			handle(conn)
		})
	}
}

func (s *target) add(c *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.open[c] = true
	return true
}

func (s *target) drop(c *net.TCPConn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *target) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
}

// echo sends back what it gets.
func echo(c *net.TCPConn) {
	b := make([]byte, 32<<10)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold reads until the connection ends.
func hold(c *net.TCPConn) { io.Copy(io.Discard, c) }

// echoPackets sends each datagram back that answer does not refuse.
func (t *trial) echoPackets(answer func([]byte) bool) framework.Addr {
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.fatalf("%v", err)
	}
	var running sync.WaitGroup
	running.Go(func() { // ends when pc is closed
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if answer(b[:n]) {
				pc.WriteToUDPAddrPort(b[:n], from)
			}
		}
	})
	t.cleanup(func() { pc.Close(); running.Wait() })
	return framework.AddrFrom(pc.LocalAddr().(*net.UDPAddr).AddrPort())
}

// closed is an address where nobody listens.
func (t *trial) closed() framework.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.fatalf("%v", err)
	}
	defer l.Close()
	return framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
}

// connect dials and closes the stream with the check.
func (t *trial) connect(o framework.Outbound, to framework.Addr) net.Conn {
	c, err := o.DialStream(t.context(), to)
	if err != nil {
		t.fatalf("dial %s: %v", to, err)
	}
	if c == nil {
		t.fatalf("dial %s: neither a stream nor an error", to)
	}
	t.cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(t.pace.step))
	return c
}

// associate opens a packet session and closes it with the check.
func (t *trial) associate(o framework.Outbound, to framework.Addr) framework.PacketConn {
	c, err := o.DialPacket(t.context(), to)
	if err != nil {
		t.fatalf("open a session to %s: %v", to, err)
	}
	t.cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(t.pace.step))
	return c
}

// build makes an instance for a server and closes it twice with the check.
func (t *trial) build(server framework.Addr) framework.Outbound {
	return t.buildFrom(fill(t.outbound.YAML, server))
}

func (t *trial) buildFrom(yaml string) framework.Outbound {
	src, err := source(yaml)
	if err != nil {
		t.fatalf("%v", err)
	}
	o, err := framework.Build[framework.Outbound](context.Background(), t.d, t.host, src)
	if err != nil {
		t.fatalf("build: %v", err)
	}
	t.cleanup(func() { o.Close(); o.Close() })
	return o
}

// reaching is an instance over the real server. Types that reach nothing, and
// those whose server is not there, have no such checks.
func (t *trial) reaching() framework.Outbound {
	switch {
	case t.outbound.Nowhere:
		t.skipf("the type reaches no destination")
	case t.needsServer() && !t.server.IsValid():
		t.skipf("there is no server")
	}
	return t.build(t.server)
}

// needsServer says whether the type has a server at all.
func (t *trial) needsServer() bool {
	return fill(t.outbound.YAML, framework.Addr{Host: "a", Port: 1}) != t.outbound.YAML
}

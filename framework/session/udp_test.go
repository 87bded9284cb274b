package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// header is how these tests tell an inbound where a datagram goes: four bytes
// of address and two of port before the payload, as SOCKS does it.
const header = 6

// udpServer is a PacketServer over a socket.
type udpServer struct {
	*net.UDPConn
	mu  sync.Mutex // guards out
	out [maxPacket + header]byte
}

func (s *udpServer) ReadPacket(b []byte, m *framework.PacketMeta) (int, error) {
	for {
		n, from, err := s.ReadFromUDPAddrPort(b)
		if err != nil {
			return 0, err
		}
		if n < header {
			continue
		}
		m.Source = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		m.Destination = framework.Addr{IP: netip.AddrFrom4([4]byte(b[:4])), Port: binary.BigEndian.Uint16(b[4:])}
		return copy(b, b[header:n]), nil
	}
}

func (s *udpServer) WritePacket(b []byte, source netip.AddrPort, from framework.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	putHeader(s.out[:], from.AddrPort())
	n := copy(s.out[header:], b)
	_, err := s.WriteToUDPAddrPort(s.out[:header+n], source)
	return err
}

func putHeader(b []byte, to netip.AddrPort) {
	ip := to.Addr().As4()
	copy(b, ip[:])
	binary.BigEndian.PutUint16(b[4:], to.Port())
}

// udpExit is a PacketConn over a socket.
type udpExit struct{ *net.UDPConn }

func (c udpExit) ReadPacket(b []byte) (int, framework.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	return n, framework.AddrFrom(from), err
}

func (c udpExit) WritePacket(b []byte, to framework.Addr) (int, error) {
	return c.WriteToUDPAddrPort(b, to.AddrPort())
}

// directly routes everything to a socket of its own.
type directly struct{ stats *stats.Stats }

func (d directly) Route(_ context.Context, f *framework.Flow) (Route, error) {
	k := new(Killer)
	sf := &stats.Flow{Flow: *f, Info: stats.Info{Chain: []string{"DIRECT"}}}
	d.stats.Open(sf, k)
	return Route{Outbound: "DIRECT", To: f.Destination, Flow: sf, Killer: k, Dial: func(context.Context) (framework.PacketConn, error) {
		c, err := listen()
		return udpExit{c}, err
	}}, nil
}

func listen() (*net.UDPConn, error) {
	return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
}

func mustListen(tb testing.TB) *net.UDPConn {
	tb.Helper()
	c, err := listen()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

func addrPort(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// serveUDP serves a socket until the test ends, and says where.
func serveUDP(tb testing.TB, table *Table, st *stats.Stats) netip.AddrPort {
	tb.Helper()
	c := mustListen(tb)
	c.SetReadBuffer(4 << 20)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- table.Serve(ctx, &udpServer{UDPConn: c}, framework.Origin{Name: "udp"}, directly{st}) }()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	return addrPort(c)
}

// echo answers each datagram with itself until c is closed.
func echo(c *net.UDPConn) {
	b := make([]byte, maxPacket)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort(b[:n], from)
	}
}

func TestKnownFlowCarriesPacketsWithoutAllocating(t *testing.T) {
	server, client := mustListen(t), mustListen(t)
	go echo(server)
	at := serveUDP(t, New(Config{}), stats.New())
	b, in := make([]byte, 1200), make([]byte, maxPacket)
	putHeader(b, addrPort(server))
	client.SetDeadline(time.Now().Add(20 * time.Second))
	turn := func() {
		if _, err := client.WriteToUDPAddrPort(b, at); err != nil {
			t.Fatal(err)
		}
		if n, _, err := client.ReadFromUDPAddrPort(in); err != nil || n != len(b) {
			t.Fatalf("got %d bytes, %v", n, err)
		}
	}
	turn()

	if n := testing.AllocsPerRun(2000, turn); n != 0 {
		t.Errorf("%v allocations per packet and answer, want none", n)
	}
}

func TestManySourcesAtOnce(t *testing.T) {
	t.Parallel()
	servers := []*net.UDPConn{mustListen(t), mustListen(t), mustListen(t)}
	for _, s := range servers {
		go echo(s)
	}
	st := stats.New()
	// A small table, so that routes come and go while packets move.
	at := serveUDP(t, New(Config{MaxSessions: 8, MaxRoutes: 16}), st)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			c := mustListen(t)
			b, in := make([]byte, 100), make([]byte, 200)
			for j := range 100 {
				putHeader(b, addrPort(servers[(i+j)%len(servers)]))
				c.WriteToUDPAddrPort(b, at)
				c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // an evicted route loses its answer
				c.ReadFromUDPAddrPort(in)
			}
		})
	}
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, f := range st.Flows(nil) {
				if i%16 == 0 {
					f.Kill()
				}
			}
			runtime.Gosched()
		}
	})
	wg.Go(func() {
		defer close(stop)
		c := mustListen(t)
		b := make([]byte, 100)
		for j := range 500 {
			putHeader(b, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1+j%3)))
			c.WriteToUDPAddrPort(b, at) // ports that refuse
		}
	})
	wg.Wait()

	if up, down := st.Bytes(); up == 0 || down == 0 || down > up {
		t.Errorf("counted %d up, %d down", up, down)
	}
}

func TestServeLeavesNothingBehind(t *testing.T) {
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	for range 20 {
		t.Run("serve", func(t *testing.T) {
			server := mustListen(t)
			at := serveUDP(t, New(Config{}), stats.New())
			for range 10 {
				c := mustListen(t)
				b := make([]byte, 100)
				putHeader(b, addrPort(server))
				c.WriteToUDPAddrPort(b, at)
				server.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, _, err := server.ReadFromUDPAddrPort(b); err != nil {
					t.Fatal(err)
				}
			}
		})
	}

	end := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines || openDescriptors() > descriptors {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before; %d descriptors, %d before", runtime.NumGoroutine(), goroutines, openDescriptors(), descriptors)
		}
		runtime.Gosched()
	}
}

// openDescriptors is 0 on systems that do not list them.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// discard is a PacketServer that repeats one datagram from many sources, and
// the PacketConn that swallows it: what is left is the session's own cost.
type discard struct {
	left, sources int
}

func (d *discard) ReadPacket(b []byte, m *framework.PacketMeta) (int, error) {
	if d.left--; d.left < 0 {
		return 0, net.ErrClosed
	}
	*m = framework.PacketMeta{
		Source:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(d.left%d.sources)+1),
		Destination: framework.Addr{IP: netip.AddrFrom4([4]byte{1, 1, 1, 1}), Port: 443},
	}
	return 1200, nil
}

func (d *discard) WritePacket([]byte, netip.AddrPort, framework.Addr) error { return nil }
func (d *discard) Close() error                                             { return nil }

type hole struct{ closed chan struct{} }

func (h hole) ReadPacket([]byte) (int, framework.Addr, error) {
	<-h.closed
	return 0, framework.Addr{}, net.ErrClosed
}
func (h hole) WritePacket(b []byte, _ framework.Addr) (int, error) { return len(b), nil }
func (h hole) SetReadDeadline(time.Time) error                     { return nil }
func (h hole) Close() error                                        { close(h.closed); return nil }

type intoHole struct{ st *stats.Stats }

func (r intoHole) Route(_ context.Context, f *framework.Flow) (Route, error) {
	sf := &stats.Flow{Flow: *f, Info: stats.Info{Chain: []string{"x"}}}
	r.st.Open(sf, nil)
	return Route{To: f.Destination, Flow: sf, Dial: func(context.Context) (framework.PacketConn, error) {
		return hole{make(chan struct{})}, nil
	}}, nil
}

// BenchmarkKnownFlow is the session's own cost per packet up.
func BenchmarkKnownFlow(b *testing.B) {
	for _, sources := range []int{1, 1000} {
		b.Run(fmt.Sprint(sources, "-sources"), func(b *testing.B) {
			b.ReportAllocs()
			New(Config{}).Serve(context.Background(), &discard{left: b.N, sources: sources}, framework.Origin{}, intoHole{stats.New()})
		})
	}
}

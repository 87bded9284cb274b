package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// ServeHost answers what a process asks of the kernel on the host channel,
// until ln closes: dials and lookups, in the name of one of r's instances. A
// request without the token t gets no answer. It returns when all connections
// have ended, which it makes them do.
func (r *Remote) ServeHost(ln net.Listener, t Token) {
	var open conns
	for {
		c, err := ln.Accept()
		if err != nil {
			open.end()
			return
		}
		open.serve(c, func() { r.serveHost(c, t) })
	}
}

// maxHostConns bounds what one process may have open on the host channel.
// Chosen: as many flows as a proxy's busiest hour.
const maxHostConns = 16 << 10

// conns is a set of connections with a goroutine each.
type conns struct {
	mu     sync.Mutex // guards open, ended
	open   map[net.Conn]bool
	ended  bool
	served sync.WaitGroup
}

// serve runs f in a goroutine and closes c after it.
func (s *conns) serve(c net.Conn, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.open) >= maxHostConns {
		c.Close()
		return
	}
	if s.open == nil {
		s.open = map[net.Conn]bool{}
	}
	s.open[c] = true
	s.served.Go(func() { // ends with f
		defer s.forget(c)
		f()
	})
}

func (s *conns) forget(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// end closes all connections and waits for their goroutines.
func (s *conns) end() {
	s.mu.Lock()
	s.ended = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.served.Wait()
}

// begin reads a header and checks who sent it. The first one has a deadline.
func begin(c net.Conn, t Token, h *Header, first bool) error {
	if first {
		if err := checkPeer(c); err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(headerWait))
	}
	if err := ReadHeader(c, h); err != nil {
		return err
	}
	if !h.Token.equal(t) {
		return errToken
	}
	return c.SetDeadline(time.Time{})
}

// watchAfter is when a dial is long enough to look whether the peer still
// waits for it. Chosen: most dials on a near network are over.
const watchAfter = 20 * time.Millisecond

// dialContext ends after the header's timeout, or when the peer hangs up. The
// caller calls done before it uses c again.
func dialContext(c net.Conn, h *Header) (ctx context.Context, done func()) {
	wait := h.Timeout
	if wait <= 0 {
		wait = headerWait
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	watched := make(chan struct{})
	watch := time.AfterFunc(watchAfter, func() { // ends with the deadline that done sets
		defer close(watched)
		if awaitHangup(c) {
			cancel()
		}
	})
	return ctx, func() {
		if !watch.Stop() {
			c.SetReadDeadline(time.Unix(1, 0))
			<-watched
			c.SetReadDeadline(time.Time{})
		}
		cancel()
	}
}

// serveHost answers requests until one has a flow follow, or c ends.
func (r *Remote) serveHost(c net.Conn, t Token) {
	var h Header
	for first := true; ; first = false {
		if err := begin(c, t, &h, first); err != nil {
			if err != io.EOF {
				r.log.Debug("a request of the plugin is refused", "plugin", r.name, "err", err)
			}
			return
		}
		if !r.answerHost(c, &h) {
			return
		}
	}
}

// answerHost answers one request; more says that c can carry another.
func (r *Remote) answerHost(c net.Conn, h *Header) (more bool) {
	i := r.instanceOf(h.Handle)
	if i == nil || i.host == nil {
		refuse(c, framework.Classed(framework.ErrUnavailable, fmt.Errorf("no instance %d", h.Handle)))
		return false
	}
	switch h.Network {
	case NetworkTCP:
		return hostStream(c, i.host, h, &r.buffers)
	case NetworkUDP:
		return hostPackets(c, i.host, h)
	case NetworkLookup:
		return hostLookup(c, i.host, h)
	}
	refuse(c, framework.Classed(framework.ErrUnsupported, fmt.Errorf("network %d", h.Network)))
	return false
}

// refuse answers with err.
func refuse(c net.Conn, err error) {
	c.Write((&Reply{Status: StatusOf(err), Text: err.Error()}).Append(nil))
}

// hostStream dials for the plugin. A plain socket is handed over; the bytes of
// any other connection go over c.
func hostStream(c net.Conn, h framework.Host, req *Header, bufs *buffers) (more bool) {
	ctx, done := dialContext(c, req)
	out, err := h.Dialer().DialStream(ctx, req.To)
	done()
	if err != nil {
		refuse(c, err)
		return false
	}
	return answerStream(c, out, req.Descriptor, bufs)
}

// answerStream says that the way is open, and carries the flow between c and
// out, which it closes; a raw out is handed over where the peer takes it, and c
// can then carry another request.
func answerStream(c, out net.Conn, descriptor bool, bufs *buffers) (more bool) {
	defer out.Close()
	if u, ok := c.(*net.UnixConn); ok && descriptor && passesDescriptors {
		if raw, ok := rawSocket(out); ok {
			return sendDescriptor(u, (&Reply{Descriptor: true}).Append(nil), raw) == nil
		}
	}
	if _, err := c.Write((&Reply{}).Append(nil)); err == nil {
		bufs.relayStreams(c, out)
	}
	return false
}

// rawSocket is c when it is a socket of the system with nothing around it.
func rawSocket(c net.Conn) (syscall.Conn, bool) {
	switch s := c.(type) {
	case *net.TCPConn:
		return s, true
	case *net.UnixConn:
		return s, true
	}
	return nil, false
}

// hostPackets opens a packet session for the plugin.
func hostPackets(c net.Conn, h framework.Host, req *Header) (more bool) {
	ctx, done := dialContext(c, req)
	out, err := h.Dialer().DialPacket(ctx, req.To)
	done()
	if err != nil {
		refuse(c, err)
		return false
	}
	// A conn that shows its socket is a plain one: whoever wraps a PacketConn
	// does not pass SyscallConn on.
	if u, ok := c.(*net.UnixConn); ok && req.Descriptor && passesDescriptors {
		if raw, ok := out.(syscall.Conn); ok {
			defer out.Close()
			return sendDescriptor(u, (&Reply{Descriptor: true}).Append(nil), raw) == nil
		}
	}
	answerPackets(c, out)
	return false
}

// answerPackets says that the session is open, and carries it between c and
// out, which it closes.
func answerPackets(c net.Conn, out framework.PacketConn) {
	if _, err := c.Write((&Reply{}).Append(nil)); err != nil {
		out.Close()
		return
	}
	relayPackets(NewPacketConn(c), out)
}

func hostLookup(c net.Conn, h framework.Host, req *Header) (more bool) {
	if req.To.Host == "" {
		refuse(c, framework.Classed(framework.ErrUnsupported, errors.New("lookup of an address")))
		return false
	}
	ctx, done := dialContext(c, req)
	ips, err := h.Resolver().Lookup(ctx, req.To.Host)
	done()
	if err != nil {
		refuse(c, err)
		return false
	}
	r := Reply{}
	for _, ip := range ips {
		r.Addrs = append(r.Addrs, ip.Unmap().AsSlice())
	}
	_, err = c.Write(r.Append(nil))
	return err == nil
}

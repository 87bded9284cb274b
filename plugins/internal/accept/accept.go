// Package accept is what the inbounds with ports share: it binds, accepts,
// admits, puts TLS in front, bounds handshakes in number and time, and ends it
// all on Close. What is spoken on a connection is the protocol's.
package accept

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// HandshakeTime is how long a client has to say what it wants, from accept to
// the last byte of its request: issue 2, "hostile clients".
const HandshakeTime = 10 * time.Second

// graceTime is how long a handshake may go on after Close, so that who reached a
// listener that a reload replaces gets an answer; chosen: SOCKS 5 with a
// password is four round trips.
const graceTime = 2 * time.Second

// maxWaiting bounds the connections that wait for a client's handshake or next
// request; chosen: at 8 KiB each they stay below 32 MiB.
const maxWaiting = 4096

// maxIdle is how many goroutines that have served a connection wait for the
// next. Chosen: a burst on a small machine; their stacks are 8 KiB each.
const maxIdle = 16

// freeTries is how often a free port is looked for that is free for UDP too.
const freeTries = 16

// Protocol is what an inbound speaks.
type Protocol struct {
	// Stream serves one connection and returns when it has ended. It owns
	// c.Raw.
	Stream func(ctx context.Context, c *Conn)
	// Packets serves the socket at the number of a TCP port and returns at
	// once; stop ends the reading. It owns c. Nil for no UDP.
	Packets func(ctx context.Context, c net.PacketConn) (stop func())
}

// Server accepts connections on the ports of one inbound.
type Server struct {
	host      framework.Host
	opts      Options
	admission framework.Admission
	handshake time.Duration
	limit     int

	loops     sync.WaitGroup // the accept loops
	stopping  chan struct{}
	stop      sync.Once
	listeners []net.Listener // set by Start
	stops     []func()       // set by Start
	unhook    func() bool    // set by Start

	next chan *Conn   // to a goroutine that waits for one; closed when nobody comes any more
	idle atomic.Int32 // how many wait

	mu            sync.Mutex // guards all below
	clock         *time.Timer
	due           time.Time // when clock runs off; zero when it is not set
	ended         sync.Cond
	closed        bool // nobody comes any more; who is in its first handshake may end it
	over          bool // the context of Start has ended: nobody may go on
	waiting, held Conn // the fixed points of rings, oldest first
	waitingCount  int
}

// New makes a Server from valid options. It binds nothing yet.
func New(h framework.Host, o Options) *Server {
	s := &Server{host: h, opts: o, admission: h.Admission(), handshake: HandshakeTime, limit: maxWaiting, stopping: make(chan struct{}), next: make(chan *Conn), unhook: func() bool { return true }}
	if o.Users != nil {
		s.admission = newAdmission(*o.Users)
	}
	s.ended.L = &s.mu
	s.waiting.prev, s.waiting.next = &s.waiting, &s.waiting
	s.held.prev, s.held.next = &s.held, &s.held
	return s
}

// Admission says who may come in through this server.
func (s *Server) Admission() framework.Admission { return s.admission }

// Start binds all ports, or none, and begins to accept. Once. Protocols get
// ctx, so it lives as long as their flows; its end cuts all that is not busy.
// Close is called after a failed Start too.
func (s *Server) Start(ctx context.Context, p Protocol) error {
	secure, err := tlsConfig(s.opts, s.host.Dir())
	if err != nil {
		return err
	}
	ports, err := Ports(s.opts.Port)
	if err != nil {
		return err
	}
	var packets []net.PacketConn
	for _, port := range ports {
		l, pc, err := s.bind(ctx, port, p.Packets != nil)
		if err != nil {
			for _, pc := range packets {
				pc.Close()
			}
			return errors.Join(err, s.Close())
		}
		s.listeners = append(s.listeners, l)
		if pc != nil {
			packets = append(packets, pc)
		}
	}
	s.unhook = context.AfterFunc(ctx, s.finish)
	for _, pc := range packets {
		s.stops = append(s.stops, p.Packets(ctx, pc))
	}
	for _, l := range s.listeners {
		s.loops.Go(func() { s.accept(ctx, l, secure, p.Stream) }) // ends when l is closed
	}
	return nil
}

// bind binds port for TCP and, when udp, the same number for UDP.
func (s *Server) bind(ctx context.Context, port uint16, udp bool) (net.Listener, net.PacketConn, error) {
	for try := 1; ; try++ {
		l, err := s.host.Listen(ctx, net.JoinHostPort(s.opts.Listen, strconv.Itoa(int(port))))
		if err != nil || !udp {
			return l, nil, err
		}
		got := addrPort(l.Addr()).Port()
		pc, err := s.host.ListenPacket(ctx, net.JoinHostPort(s.opts.Listen, strconv.Itoa(int(got))))
		if err == nil {
			return l, pc, nil
		}
		l.Close()
		if port != 0 || try == freeTries {
			return nil, nil, fmt.Errorf("bind udp: %w", err)
		}
	}
}

// Addrs are the addresses that the server accepts on, after Start.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, l := range s.listeners {
		addrs = append(addrs, addrPort(l.Addr()))
	}
	return addrs
}

// Close ends accepting, gives handshakes graceTime to end, cuts what waits for a
// next request or is held, and returns when those have ended; busy connections
// live on. It may be called twice.
func (s *Server) Close() error {
	var errs []error
	s.stop.Do(func() {
		close(s.stopping)
		for _, l := range s.listeners {
			errs = append(errs, l.Close())
		}
		for _, stop := range s.stops {
			stop()
		}
		s.loops.Wait() // all who were accepted are known
		close(s.next)
		s.shut(time.Now().Add(graceTime))
	})
	s.mu.Lock()
	for !s.empty() {
		s.ended.Wait()
	}
	if s.clock != nil {
		s.clock.Stop()
	}
	s.mu.Unlock()
	s.unhook()
	return errors.Join(errs...)
}

// shut lets nobody wait any more. Who is in the first handshake may go on until
// deadline.
func (s *Server) shut(deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.over {
		deadline = cut
	}
	for c := s.waiting.next; c != &s.waiting; c = c.next {
		if c.begun {
			c.end(cut)
		} else {
			c.end(deadline)
		}
	}
	for c := s.held.next; c != &s.held; c = c.next {
		c.end(cut)
	}
}

// finish cuts all that is not busy.
func (s *Server) finish() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.shut(cut)
}

// accept runs until l is closed.
func (s *Server) accept(ctx context.Context, l net.Listener, secure *tls.Config, serve func(context.Context, *Conn)) {
	var pause time.Duration
	for {
		c, err := l.Accept()
		if err == nil {
			pause = 0
			s.admit(ctx, c, secure, serve)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if pause == 0 { // the first of a row tells, the rest would repeat it
			s.host.Log().Warn("accept", slog.Any("err", err))
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-s.stopping:
			return
		case <-time.After(pause):
		}
	}
}

// admit closes c at once or serves it in a goroutine of its own.
func (s *Server) admit(ctx context.Context, raw net.Conn, secure *tls.Config, serve func(context.Context, *Conn)) {
	source := addrPort(raw.RemoteAddr())
	if !s.admission.Allowed(source.Addr()) {
		raw.Close()
		return
	}
	c := &Conn{conn: raw, source: source, local: addrPort(raw.LocalAddr()), server: s}
	if secure != nil {
		c.conn = tls.Server(raw, secure)
	}
	if !c.Wait(s.handshake) {
		raw.Close()
		s.forget(c)
		return
	}
	select {
	case s.next <- c:
	default:
		go s.serve(ctx, c, serve) // ends with c or a later connection, or Close
	}
}

// serve serves c, then connections that come while it waits: a stack that has
// grown to dial is not grown again. Measured: 3 % of the CPU of short flows.
func (s *Server) serve(ctx context.Context, c *Conn, one func(context.Context, *Conn)) {
	for open := true; open; {
		func() {
			defer s.forget(c)
			one(ctx, c)
		}()
		if open = s.idle.Add(1) <= maxIdle; open {
			c, open = <-s.next
		}
		s.idle.Add(-1)
	}
}

// addrPort is a as an address and port without mapping, zero when a is neither
// TCP nor UDP.
func addrPort(a net.Addr) netip.AddrPort {
	ip, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	ap := ip.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

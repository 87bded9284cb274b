package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sockets are the listening sockets of all inbounds, by network and address.
// An instance that listens where one that leaves does holds a descriptor of the
// same socket, so that it takes over while the other lets go, and no connection
// is refused in between. A socket closes with its last holder.
type sockets struct {
	mu   sync.Mutex // guards open
	open map[socketKey]*socket
}

type socketKey struct{ network, address string }

// socket is one bound socket. The holder here accepts nothing: it is what
// further descriptors are made from.
type socket struct {
	key     socketKey
	master  master
	holders int
	owner   *owner // who came last
}

// owner is who listens. Its sockets may be taken over once it is leaving.
type owner struct {
	name    string
	leaving atomic.Bool
}

// master is a *net.TCPListener or a *net.UDPConn.
type master interface {
	File() (*os.File, error)
	SyscallConn() (syscall.RawConn, error)
	Close() error
}

// binder binds a socket.
type binder func(lc net.ListenConfig, network string) (master, error)

// listen is an own listener on the socket at address, ip:port.
func (s *sockets) listen(ctx context.Context, lc net.ListenConfig, o *owner, address string) (net.Listener, error) {
	address = bothFamilies(address)
	sock, f, err := s.share(o, lc, socketKey{"tcp", address}, func(lc net.ListenConfig, network string) (master, error) {
		l, err := lc.Listen(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener), nil
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		s.release(sock)
		return nil, fmt.Errorf("share %s: %w", address, err)
	}
	return &listener{TCPListener: l.(*net.TCPListener), hold: hold{set: s, sock: sock}, keepAlive: filled(lc.KeepAliveConfig)}, nil
}

// listenPacket is listen for datagrams.
func (s *sockets) listenPacket(ctx context.Context, lc net.ListenConfig, o *owner, address string) (net.PacketConn, error) {
	address = bothFamilies(address)
	sock, f, err := s.share(o, lc, socketKey{"udp", address}, func(lc net.ListenConfig, network string) (master, error) {
		c, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.(*net.UDPConn), nil
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		s.release(sock)
		return nil, fmt.Errorf("share %s: %w", address, err)
	}
	return &packetConn{UDPConn: c.(*net.UDPConn), hold: hold{set: s, sock: sock}}, nil
}

// share finds or binds a socket and returns a descriptor of it, which the
// caller closes.
func (s *sockets) share(o *owner, lc net.ListenConfig, key socketKey, bind binder) (*socket, *os.File, error) {
	sock, err := s.hold(o, lc, key, bind)
	if err != nil {
		return nil, nil, err
	}
	f, err := sock.master.File()
	if err != nil {
		s.release(sock)
		return nil, nil, fmt.Errorf("share %s: %w", key.address, err)
	}
	return sock, f, nil
}

// hold finds or binds the socket and adds a holder. A socket whose owner stays
// is not shared: the first to bind keeps the address.
func (s *sockets) hold(o *owner, lc net.ListenConfig, key socketKey, bind binder) (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sock := s.open[key]
	switch {
	case sock == nil:
		m, err := bind(lc, key.network+family(key.address))
		if errors.Is(err, syscall.EADDRINUSE) {
			m, err = s.beside(lc, key, bind, err)
		}
		if err != nil {
			return nil, err
		}
		sock = &socket{key: key, master: m}
		if s.open == nil {
			s.open = map[socketKey]*socket{}
		}
		if !anyPort(key.address) {
			s.open[key] = sock
		}
	case !sock.owner.leaving.Load():
		return nil, fmt.Errorf("listen %s %s: listener %q is there: %w", key.network, key.address, sock.owner.name, syscall.EADDRINUSE)
	}
	sock.owner = o
	sock.holders++
	return sock, nil
}

// beside binds an address that is in use by sockets of ours which are about to
// close, as 0.0.0.0 is by 127.0.0.1 with the same port. inUse is returned when
// they stay or are another program's. The caller holds mu.
func (s *sockets) beside(lc net.ListenConfig, key socketKey, bind binder, inUse error) (master, error) {
	var near []master
	for at, sock := range s.open {
		if at.network != key.network || port(at.address) != port(key.address) {
			continue
		}
		if !sock.owner.leaving.Load() {
			return nil, inUse
		}
		near = append(near, sock.master)
	}
	if len(near) == 0 {
		return nil, inUse
	}
	for _, m := range near {
		if err := sharePort(m, true); err != nil {
			return nil, inUse
		}
		defer sharePort(m, false)
	}
	own := lc.Control
	lc.Control = func(network, address string, c syscall.RawConn) error {
		if own != nil {
			if err := own(network, address, c); err != nil {
				return err
			}
		}
		return sharePortOf(c, true)
	}
	m, err := bind(lc, key.network+family(key.address))
	if err != nil {
		return nil, err
	}
	return m, sharePort(m, false) // another program is not to come beside
}

// sharePort says whether a socket lets others at its port that do so too.
func sharePort(m master, on bool) error {
	c, err := m.SyscallConn()
	if err != nil {
		return err
	}
	return sharePortOf(c, on)
}

// release lets go of a socket. With the last holder it closes, and who has
// connected to it is returned.
func (s *sockets) release(sock *socket) (queue []net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sock.holders--; sock.holders > 0 {
		return nil
	}
	if s.open[sock.key] == sock {
		delete(s.open, sock.key)
	}
	if l, ok := sock.master.(*net.TCPListener); ok {
		queue = takeQueue(l) // the system would reset it
	}
	sock.master.Close()
	return queue
}

// family keeps an IPv4 address to IPv4: without it Go opens both families for
// 0.0.0.0.
func family(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil && ap.Addr().Is4() {
		return "4"
	}
	return ""
}

// bothFamilies spells [::]:port as :port, which Go opens for IPv4 as well, and
// for IPv4 alone where the system has no IPv6.
func bothFamilies(address string) string {
	if port, ok := strings.CutPrefix(address, "[::]:"); ok {
		return ":" + port
	}
	return address
}

// port is the part of an address behind the last colon.
func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// anyPort says that each call binds a socket of its own.
func anyPort(address string) bool { return port(address) == "0" }

// hold is one holder's part of a socket.
type hold struct {
	set  *sockets
	sock *socket
	once sync.Once
}

func (h *hold) release() (queue []net.Conn) {
	h.once.Do(func() { queue = h.set.release(h.sock) })
	return queue
}

// goKeepAlive is what package net sets on each connection that a listener
// made from a file accepts.
var goKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second}

// filled is c with what package net takes for zeros.
func filled(c net.KeepAliveConfig) net.KeepAliveConfig {
	if c.Idle == 0 {
		c.Idle = goKeepAlive.Idle
	}
	if c.Interval == 0 {
		c.Interval = goKeepAlive.Interval
	}
	return c
}

type listener struct {
	*net.TCPListener
	hold
	keepAlive net.KeepAliveConfig

	mu    sync.Mutex // guards queue; held while the listener closes
	queue []net.Conn // who was connected when the listener closed
}

// Accept is as of net.Listener. Those who were connected when the listener
// closed are returned before net.ErrClosed is.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && errors.Is(err, net.ErrClosed) {
		c, err = l.rest(err)
	}
	if err != nil {
		return nil, err
	}
	if l.keepAlive != goKeepAlive {
		c.(*net.TCPConn).SetKeepAliveConfig(l.keepAlive)
	}
	return c, nil
}

func (l *listener) rest(closed error) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, closed
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

// Close closes this descriptor; the socket lives on while others hold it.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.TCPListener.Close()
	l.queue = append(l.queue, l.release()...)
	return err
}

type packetConn struct {
	*net.UDPConn
	hold
}

// Close closes this descriptor; the socket lives on while others hold it.
func (c *packetConn) Close() error {
	err := c.UDPConn.Close()
	c.release()
	return err
}

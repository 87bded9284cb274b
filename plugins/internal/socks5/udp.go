package socks5

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Associations are the open UDP associations of authenticated clients, by the
// address of the client. The zero value is ready; it is safe for concurrent
// use.
type Associations struct {
	mu    sync.RWMutex // guards users
	users map[netip.Addr][]string
}

func (t *Associations) add(ip netip.Addr, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users == nil {
		t.users = map[netip.Addr][]string{}
	}
	t.users[ip] = append(t.users[ip], user)
}

func (t *Associations) remove(ip netip.Addr, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.users[ip]
	for i, u := range users {
		if u == user {
			users = append(users[:i:i], users[i+1:]...)
			break
		}
	}
	if len(users) == 0 {
		delete(t.users, ip)
		return
	}
	t.users[ip] = users
}

// user is who opened the newest association from ip.
func (t *Associations) user(ip netip.Addr) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	users := t.users[ip]
	if len(users) == 0 {
		return "", false
	}
	return users[len(users)-1], true
}

// maxDatagram is the longest that UDP carries.
const maxDatagram = 65535

// socket is what *net.UDPConn has and net.PacketConn lacks: addresses as
// values, so that a datagram costs no allocation.
type socket interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// Packets is the datagram side of an inbound, a framework.PacketServer. All
// clients share its socket. Where a source must authenticate, datagrams are
// taken from addresses with an open association only.
type Packets struct {
	conn         net.PacketConn
	socket       socket
	admission    framework.Admission
	associations *Associations
	stopped      atomic.Bool

	in      []byte // for the one reader; longer than the caller's by the header
	names   Names  // for the one reader
	buffers sync.Pool
}

// NewPackets makes a Packets that owns c.
func NewPackets(c net.PacketConn, a framework.Admission, t *Associations) *Packets {
	p := &Packets{conn: c, admission: a, associations: t, in: make([]byte, maxDatagram)}
	p.socket, _ = c.(socket)
	if p.socket == nil {
		p.socket = plain{c}
	}
	p.buffers.New = func() any { return &buffer{} }
	return p
}

// ReadPacket reads one valid datagram from an admitted source: see
// framework.PacketServer.
func (p *Packets) ReadPacket(b []byte, m *framework.PacketMeta) (int, error) {
	for {
		n, source, err := p.socket.ReadFromUDPAddrPort(p.in)
		if p.stopped.Load() {
			return 0, net.ErrClosed
		}
		if err != nil && !skippable(err) {
			return 0, err
		}
		source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		user, admitted := p.admit(source.Addr())
		if err != nil || !admitted {
			continue
		}
		to, header, err := ParseHeader(p.in[:n], &p.names)
		if err != nil || to.Port == 0 {
			continue
		}
		*m = framework.PacketMeta{Source: source, Destination: to, User: user}
		return copy(b, p.in[header:n]), nil
	}
}

// admit says whether a datagram from ip is taken, and for whom.
func (p *Packets) admit(ip netip.Addr) (user string, ok bool) {
	if !p.admission.Allowed(ip) {
		return "", false
	}
	if !p.admission.Required(ip) {
		return "", true
	}
	return p.associations.user(ip)
}

// skippable says whether err is about an earlier datagram of ours: some
// systems report an unreachable client to the next read.
func skippable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

type buffer struct{ b []byte }

// WritePacket sends b to the client at source, as coming from from.
func (p *Packets) WritePacket(b []byte, source netip.AddrPort, from framework.Addr) error {
	buf := p.buffers.Get().(*buffer)
	defer p.buffers.Put(buf)
	out, err := AppendHeader(buf.b[:0], from)
	if err != nil {
		return err
	}
	buf.b = append(out, b...)
	_, err = p.socket.WriteToUDPAddrPort(buf.b, source)
	return err
}

// Stop ends the reading and leaves the socket open for answers on their way.
func (p *Packets) Stop() {
	p.stopped.Store(true)
	p.conn.SetReadDeadline(time.Unix(1, 0))
}

// Close closes the socket.
func (p *Packets) Close() error { return p.conn.Close() }

// plain is a socket over any net.PacketConn, at the cost of an allocation per
// datagram.
type plain struct{ conn net.PacketConn }

func (s plain) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := s.conn.ReadFrom(b)
	if u, ok := from.(*net.UDPAddr); ok {
		return n, u.AddrPort(), err
	}
	return n, netip.AddrPort{}, err
}

func (s plain) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return s.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

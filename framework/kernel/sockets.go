package kernel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
)

// sockets are the listening sockets of all inbounds, by network and address.
// Instances that listen at the same address hold descriptors of one socket, so
// that the next instance takes over while the last one lets go, and no
// connection is refused in between. A socket closes with its last holder.
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
}

// listen is an own listener on the socket at address, ip:port.
func (s *sockets) listen(ctx context.Context, lc net.ListenConfig, address string) (net.Listener, error) {
	address = bothFamilies(address)
	sock, err := s.hold("tcp", address, func(network string) (master, error) {
		l, err := lc.Listen(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener), nil
	})
	if err != nil {
		return nil, err
	}
	f, err := sock.master.File()
	if err != nil {
		s.release(sock)
		return nil, fmt.Errorf("share %s: %w", address, err)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		s.release(sock)
		return nil, fmt.Errorf("share %s: %w", address, err)
	}
	return &listener{Listener: l, hold: hold{set: s, sock: sock}}, nil
}

// listenPacket is listen for datagrams.
func (s *sockets) listenPacket(ctx context.Context, lc net.ListenConfig, address string) (net.PacketConn, error) {
	address = bothFamilies(address)
	sock, err := s.hold("udp", address, func(network string) (master, error) {
		c, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.(*net.UDPConn), nil
	})
	if err != nil {
		return nil, err
	}
	f, err := sock.master.File()
	if err != nil {
		s.release(sock)
		return nil, fmt.Errorf("share %s: %w", address, err)
	}
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		s.release(sock)
		return nil, fmt.Errorf("share %s: %w", address, err)
	}
	return &packetConn{UDPConn: c.(*net.UDPConn), hold: hold{set: s, sock: sock}}, nil
}

type master interface {
	File() (*os.File, error)
	Close() error
}

// hold finds or binds the socket and adds a holder.
func (s *sockets) hold(network, address string, bind func(network string) (master, error)) (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := socketKey{network, address}
	sock := s.open[key]
	if sock == nil {
		m, err := bind(network + family(address))
		if err != nil {
			return nil, err
		}
		sock = &socket{key: key, master: m}
		if s.open == nil {
			s.open = map[socketKey]*socket{}
		}
		if !anyPort(address) {
			s.open[key] = sock
		}
	}
	sock.holders++
	return sock, nil
}

func (s *sockets) release(sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sock.holders--; sock.holders == 0 {
		if s.open[sock.key] == sock {
			delete(s.open, sock.key)
		}
		sock.master.Close()
	}
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

// anyPort says that each call binds a socket of its own.
func anyPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}

// hold is one holder's part of a socket.
type hold struct {
	set  *sockets
	sock *socket
	once sync.Once
}

func (h *hold) release() { h.once.Do(func() { h.set.release(h.sock) }) }

type listener struct {
	net.Listener
	hold
}

// Close closes this descriptor; the socket lives on while others hold it.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.release()
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

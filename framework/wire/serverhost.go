package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/culvert-proxy/culvert/framework"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// serverHost is an instance's Host in a plugin process: what it asks goes to
// the kernel.
type serverHost struct {
	s      *Server
	handle uint32
	name   string
	dir    string
	log    *slog.Logger
}

var errInTree = errors.New("only a plugin in the kernel's own process can do that")

func (s *Server) host(m *pb.Instance, d framework.Descriptor) framework.Host {
	return &serverHost{s: s, handle: m.Handle, name: m.Name, dir: m.Dir, log: s.Log.With(m.Kind, m.Name, "type", d.Type)}
}

func (h *serverHost) Name() string                   { return h.name }
func (h *serverHost) Log() *slog.Logger              { return h.log }
func (h *serverHost) Dialer() framework.Dialer       { return h }
func (h *serverHost) Resolver() framework.Resolver   { return h }
func (h *serverHost) Dir() string                    { return h.dir }
func (h *serverHost) Admission() framework.Admission { return nobody{} }

func (h *serverHost) Count(metric string, n uint64) { h.s.counts.add(h.handle, metric, n) }

// Listen implements framework.Host: only inbounds listen, and they are in the
// tree.
func (h *serverHost) Listen(context.Context, string) (net.Listener, error) {
	return nil, framework.Classed(framework.ErrUnsupported, errInTree)
}

// ListenPacket implements framework.Host.
func (h *serverHost) ListenPacket(context.Context, string) (net.PacketConn, error) {
	return nil, framework.Classed(framework.ErrUnsupported, errInTree)
}

// nobody is the Admission of a process: there is no inbound in it.
type nobody struct{}

func (nobody) Allowed(netip.Addr) bool   { return false }
func (nobody) Required(netip.Addr) bool  { return true }
func (nobody) Check(string, string) bool { return false }

// ask sends a request to the kernel. Without an error the caller owns the
// connection and fd, which is -1 when none came.
func (h *serverHost) ask(ctx context.Context, network uint8, to framework.Addr) (c net.Conn, fd int, r Reply, err error) {
	return askOver(ctx, &h.s.idle, h.s.DialHost, &Header{Handle: h.handle, Network: network, Token: h.s.Token, To: to, Descriptor: passesDescriptors})
}

// DialStream implements framework.Dialer.
func (h *serverHost) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	c, fd, _, err := h.ask(ctx, NetworkTCP, to)
	switch {
	case err != nil:
		return nil, err
	case fd < 0:
		return c, nil
	}
	h.s.idle.put(c)
	return streamOf(fd)
}

// DialPacket implements framework.Dialer.
func (h *serverHost) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	c, fd, _, err := h.ask(ctx, NetworkUDP, to)
	switch {
	case err != nil:
		return nil, err
	case fd < 0:
		return NewPacketConn(c), nil
	}
	h.s.idle.put(c)
	u, err := packetsOf(fd)
	if err != nil {
		return nil, err
	}
	return &udpConn{UDPConn: u, resolver: h}, nil
}

// Lookup implements framework.Resolver.
func (h *serverHost) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	c, fd, r, err := h.ask(ctx, NetworkLookup, framework.Addr{Host: host})
	if err != nil {
		return nil, err
	}
	h.s.idle.put(c)
	drop(fd)
	var out []netip.Addr
	for _, b := range r.Addrs {
		ip, _ := netip.AddrFromSlice(b)
		out = append(out, ip)
	}
	if len(out) == 0 {
		return nil, framework.Classed(framework.ErrUnreachable, fmt.Errorf("no address for %s", host))
	}
	return out, nil
}

// udpConn is a UDP socket that the kernel made. Packets to and from addresses
// cost no allocation.
type udpConn struct {
	*net.UDPConn
	resolver framework.Resolver

	mu    sync.Mutex // guards known
	known map[string]netip.Addr
}

// ReadPacket implements framework.PacketConn. Reports of packets that did not
// arrive are skipped: they concern one peer of many.
func (c *udpConn) ReadPacket(b []byte) (int, framework.Addr, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		switch {
		case err == nil:
			return n, framework.AddrFrom(from), nil
		case errors.Is(err, net.ErrClosed):
			return 0, framework.Addr{}, net.ErrClosed
		case !errors.Is(err, syscall.ECONNREFUSED):
			return 0, framework.Addr{}, err
		}
	}
}

// WritePacket implements framework.PacketConn. A name is resolved once for the
// session.
func (c *udpConn) WritePacket(b []byte, to framework.Addr) (int, error) {
	ip := to.IP
	if to.Host != "" {
		var err error
		if ip, err = c.resolve(to.Host); err != nil {
			return 0, err
		}
	}
	n, err := c.WriteToUDPAddrPort(b, netip.AddrPortFrom(ip, to.Port))
	if errors.Is(err, syscall.ECONNREFUSED) { // the report of an earlier packet
		n, err = c.WriteToUDPAddrPort(b, netip.AddrPortFrom(ip, to.Port))
	}
	if errors.Is(err, net.ErrClosed) {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *udpConn) resolve(host string) (netip.Addr, error) {
	c.mu.Lock()
	ip, ok := c.known[host]
	c.mu.Unlock()
	if ok {
		return ip, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), headerWait)
	defer cancel()
	ips, err := c.resolver.Lookup(ctx, host)
	if err != nil {
		return ip, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= 64 {
		c.known = map[string]netip.Addr{}
	}
	c.known[host] = ips[0]
	return ips[0], nil
}

// counts adds up what instances count until it is told.
type counts struct {
	some chan struct{} // holds a token when sums is not empty

	mu   sync.Mutex // guards sums
	sums map[countKey]uint64
}

type countKey struct {
	handle uint32
	metric string
}

func newCounts() counts { return counts{some: make(chan struct{}, 1)} }

func (c *counts) add(handle uint32, metric string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sums == nil {
		c.sums = map[countKey]uint64{}
	}
	c.sums[countKey{handle, metric}] += n
	select {
	case c.some <- struct{}{}:
	default:
	}
}

func (c *counts) take() map[countKey]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.sums
	c.sums = nil
	return out
}

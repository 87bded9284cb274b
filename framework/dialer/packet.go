package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// DialPacket opens an unconnected UDP socket. It reaches all peers of the
// families that IPVersion and Global.IPv6 allow; when to is a name it is
// resolved first. A loopback destination gets a socket that is not bound to
// the interface, so it cannot write to others through one.
func (d *Dialer) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	p := d.current()
	ip := to.IP
	if to.Host != "" {
		found, err := d.lookupOne(ctx, p, to.Host)
		if err != nil {
			return nil, dialError("udp", to, contextError(ctx, err))
		}
		ip = found
	} else if err := d.allowed(p, ip); err != nil {
		return nil, dialError("udp", to, err)
	}
	listen := &p.listen
	if ip.IsLoopback() {
		listen = &p.own
	}
	pc, err := listen.ListenPacket(ctx, d.packetNetwork(p), ":0")
	if err != nil {
		return nil, dialError("udp", to, contextError(ctx, err))
	}
	c := &packetConn{UDPConn: pc.(*net.UDPConn), d: d, p: p}
	if to.Host != "" {
		c.names = map[string]resolved{to.Host: {ip, time.Now().Add(nameLife)}}
	}
	return c, nil
}

// packetNetwork is the socket's family. "udp" with no address is a socket of
// both families where the system has one.
func (d *Dialer) packetNetwork(p *plan) string {
	switch {
	case d.options.IPVersion == IPv6:
		return "udp6"
	case d.options.IPVersion == IPv4 || !p.global.IPv6:
		return "udp4"
	}
	return "udp"
}

// lookupOne is the address of a name that packets go to: the first of the
// family that is preferred, else of the other.
func (d *Dialer) lookupOne(ctx context.Context, p *plan, host string) (netip.Addr, error) {
	ips, err := d.lookup(ctx, host)
	if err != nil {
		return netip.Addr{}, err
	}
	first, _ := d.families(p, ips)
	if len(first) == 0 {
		return netip.Addr{}, errNoAddress
	}
	return first[0], nil
}

const (
	// nameLife is how long a session keeps an address of a name. Chosen: as
	// long as an idle session lives.
	nameLife = time.Minute
	// maxNames bounds what a session remembers. Chosen: more names than
	// programs write to from one socket.
	maxNames = 64
)

type resolved struct {
	ip    netip.Addr
	until time.Time
}

// packetConn is a framework.PacketConn over a UDP socket. Packets to and from
// addresses cost no allocation.
type packetConn struct {
	*net.UDPConn
	d *Dialer
	p *plan

	mu    sync.Mutex // guards names
	names map[string]resolved
}

// ReadPacket implements framework.PacketConn. Reports of packets that did not
// arrive (ICMP) are skipped: they concern one peer of many.
func (c *packetConn) ReadPacket(b []byte) (int, framework.Addr, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		switch {
		case err == nil:
			return n, framework.AddrFrom(from), nil
		case errors.Is(err, net.ErrClosed):
			return 0, framework.Addr{}, net.ErrClosed
		case !undelivered(err):
			return 0, framework.Addr{}, err
		}
	}
}

// WritePacket implements framework.PacketConn. It resolves a name, which may
// take as long as the dialer's timeout; the answer is kept for the session.
func (c *packetConn) WritePacket(b []byte, to framework.Addr) (int, error) {
	ip := to.IP
	if to.Host != "" {
		found, err := c.resolve(to.Host)
		if err != nil {
			return 0, dialError("udp", to, err)
		}
		ip = found
	} else if err := c.d.allowed(c.p, ip); err != nil {
		return 0, dialError("udp", to, err)
	}
	dst := netip.AddrPortFrom(ip, to.Port)
	n, err := c.WriteToUDPAddrPort(b, dst)
	if err != nil && undelivered(err) { // the report of an earlier packet
		n, err = c.WriteToUDPAddrPort(b, dst)
	}
	if err != nil {
		if errors.Is(err, net.ErrClosed) {
			return 0, net.ErrClosed
		}
		return n, writeError(to, err)
	}
	return n, nil
}

func writeError(to framework.Addr, err error) error {
	class := framework.Classify(err)
	if class == nil {
		class = framework.ErrUnreachable
	}
	return framework.Classed(class, fmt.Errorf("write udp %s: %w", to, cause(err)))
}

// undelivered says whether err is the system's report that an earlier packet
// was refused.
func undelivered(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

func (c *packetConn) resolve(host string) (netip.Addr, error) {
	now := time.Now()
	c.mu.Lock()
	known, ok := c.names[host]
	c.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.ip, nil
	}
	ip, err := c.d.lookupOne(context.Background(), c.p, host)
	if err != nil {
		return netip.Addr{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil || len(c.names) >= maxNames {
		c.names = map[string]resolved{}
	}
	c.names[host] = resolved{ip, now.Add(nameLife)}
	return ip, nil
}

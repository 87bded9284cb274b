package dispatch

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/culvert-proxy/culvert/framework"
)

// Conn is net.Conn, named here so that signatures stay short.
type Conn = net.Conn

type depthKey struct{}

// nested bounds chains of chains, which a group's choice may close to a loop.
func nested(ctx context.Context) (context.Context, error) {
	n, _ := ctx.Value(depthKey{}).(int)
	if n >= maxDepth {
		return ctx, framework.Classed(framework.ErrUnavailable, errors.New("dialer-proxy leads back to itself"))
	}
	return context.WithValue(ctx, depthKey{}, n+1), nil
}

// leased makes c release l when it is closed. A raw socket needs no outbound
// behind it and stays raw, so that it can be spliced.
func leased(c Conn, l *Lease) Conn {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		l.Release()
		return c
	}
	return &leasedConn{Conn: c, lease: l}
}

type leasedConn struct {
	Conn
	lease *Lease
	once  sync.Once
}

func (c *leasedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.lease.Release)
	return err
}

// CloseWrite ends the sending half where the connection has halves.
func (c *leasedConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

type leasedPacketConn struct {
	framework.PacketConn
	lease *Lease
	once  sync.Once
}

func (c *leasedPacketConn) Close() error {
	err := c.PacketConn.Close()
	c.once.Do(c.lease.Release)
	return err
}

package conformance

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func brokenOutbounds() []broken {
	return slices.Concat(brokenDescriptions(), brokenLifecycles(), brokenDials(), brokenStreams(), brokenPackets())
}

// rewired is a packet session with methods of its own where they are set.
type rewired struct {
	framework.PacketConn
	read     func([]byte) (int, framework.Addr, error)
	write    func([]byte, framework.Addr) (int, error)
	deadline func(time.Time) error
}

func (r rewired) ReadPacket(b []byte) (int, framework.Addr, error) {
	if r.read != nil {
		return r.read(b)
	}
	return r.PacketConn.ReadPacket(b)
}

func (r rewired) WritePacket(b []byte, to framework.Addr) (int, error) {
	if r.write != nil {
		return r.write(b, to)
	}
	return r.PacketConn.WritePacket(b, to)
}

func (r rewired) SetReadDeadline(t time.Time) error {
	if r.deadline != nil {
		return r.deadline(t)
	}
	return r.PacketConn.SetReadDeadline(t)
}

func rewire(f func(c framework.PacketConn, r *rewired)) func(*testing.T) framework.Descriptor {
	return with(flaw{packet: func(c framework.PacketConn) framework.PacketConn {
		r := rewired{PacketConn: c}
		f(c, &r)
		return r
	}})
}

func brokenPackets() []broken {
	return []broken{
		{check: "boundaries and sizes are kept", says: "bytes", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			r.write = func(b []byte, to framework.Addr) (int, error) {
				c.WritePacket(b[:min(len(b), 1000)], to)
				return len(b), nil
			}
		})},
		{check: "boundaries and sizes are kept", says: "want", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			var kept []byte
			r.write = func(b []byte, to framework.Addr) (int, error) { // two become one
				if kept = append(kept, b...); len(kept) != 3 {
					c.WritePacket(kept, to)
					kept = nil
				}
				return len(b), nil
			}
		})},
		{check: "a host name is reached", says: "no names", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			r.write = func(b []byte, to framework.Addr) (int, error) {
				if to.Host != "" {
					return 0, errors.New("no names")
				}
				return c.WritePacket(b, to)
			}
		})},
		{check: "several destinations answer as themselves", says: "a reply comes from", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			var first framework.Addr
			r.write = func(b []byte, to framework.Addr) (int, error) {
				if !first.IsValid() {
					first = to
				}
				return c.WritePacket(b, first)
			}
		})},
		{check: "a long datagram is cut and the next one is whole", says: "1,000 bytes into 10", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			r.read = func(b []byte) (int, framework.Addr, error) {
				n, from, err := c.ReadPacket(b)
				if n == len(b) {
					err = io.ErrShortBuffer
				}
				return n, from, err
			}
		})},
		{check: "silence ends with the read deadline", says: "goes on after its deadline", flaw: rewire(func(_ framework.PacketConn, r *rewired) {
			r.deadline = func(time.Time) error { return nil }
		})},
		{check: "silence ends with the read deadline", says: "want os.ErrDeadlineExceeded", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			r.read = func(b []byte) (int, framework.Addr, error) {
				n, from, err := c.ReadPacket(b)
				if err != nil {
					err = io.EOF
				}
				return n, from, err
			}
		})},
		{check: "after Close reads and writes fail with net.ErrClosed", says: "want net.ErrClosed", flaw: rewire(func(c framework.PacketConn, r *rewired) {
			r.read = func(b []byte) (int, framework.Addr, error) {
				n, from, err := c.ReadPacket(b)
				if err != nil {
					err = io.EOF
				}
				return n, from, err
			}
		})},
		{check: "a session outlives the context of its dial", says: "use of closed", flaw: with(flaw{pack: func(ctx context.Context, o *toy, to framework.Addr) (framework.PacketConn, error) {
			c, err := o.host.Dialer().DialPacket(ctx, to)
			if err != nil {
				return nil, err
			}
			r := rewired{PacketConn: c}
			r.write = func(b []byte, to framework.Addr) (int, error) {
				<-ctx.Done()
				c.Close()
				return c.WritePacket(b, to)
			}
			return r, nil
		}})},
		{check: "a type without packets says ErrUnsupported", says: "want class unsupported", c: func(c *Case) { c.NoPackets = true },
			flaw: with(flaw{pack: func(context.Context, *toy, framework.Addr) (framework.PacketConn, error) {
				return nil, errors.New("no packets")
			}})},
		{check: "a type without packets says ErrUnsupported", says: "CarriesPackets does not say", c: func(c *Case) { c.NoPackets = true },
			flaw: with(flaw{pack: func(context.Context, *toy, framework.Addr) (framework.PacketConn, error) {
				return nil, framework.ErrUnsupported
			}})},
	}
}

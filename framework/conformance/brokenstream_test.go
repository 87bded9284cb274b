package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// edited is a stream with methods of its own where they are set.
type edited struct {
	*net.TCPConn
	read     func([]byte) (int, error)
	write    func([]byte) (int, error)
	half     func() error
	close    func() error
	deadline func(time.Time) error
}

func (e edited) Read(b []byte) (int, error) {
	if e.read != nil {
		return e.read(b)
	}
	return e.TCPConn.Read(b)
}

func (e edited) Write(b []byte) (int, error) {
	if e.write != nil {
		return e.write(b)
	}
	return e.TCPConn.Write(b)
}

func (e edited) CloseWrite() error {
	if e.half != nil {
		return e.half()
	}
	return e.TCPConn.CloseWrite()
}

func (e edited) Close() error {
	if e.close != nil {
		return e.close()
	}
	return e.TCPConn.Close()
}

func (e edited) SetReadDeadline(t time.Time) error {
	if e.deadline != nil {
		return e.deadline(t)
	}
	return e.TCPConn.SetReadDeadline(t)
}

// edit makes an outbound whose streams f changes.
func edit(f func(t *testing.T, c *net.TCPConn, e *edited)) func(*testing.T) framework.Descriptor {
	return func(t *testing.T) framework.Descriptor {
		return toyDescriptor(flaw{stream: func(c net.Conn) net.Conn {
			e := edited{TCPConn: c.(*net.TCPConn)}
			t.Cleanup(func() { c.Close() })
			f(t, e.TCPConn, &e)
			return e
		}})
	}
}

func brokenStreams() []broken {
	return []broken{
		{check: "bytes arrive whole in both directions at once", says: "not what the client sent", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			var sent int
			e.write = func(b []byte) (int, error) {
				if sent += len(b); sent > 1<<20 {
					b[100] ^= 1
				}
				return c.Write(b)
			}
		})},
		{check: "bytes arrive whole in both directions at once", says: "not what the destination sent", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.read = func(b []byte) (int, error) {
				n, err := c.Read(b)
				if n > 3 {
					b[2], b[3] = b[3], b[2]
				}
				return n, err
			}
		})},
		{check: "half-close reaches the destination", says: "half-close", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.half = func() error { return nil }
		})},
		{check: "half-close reaches the destination", says: "has no CloseWrite", flaw: with(flaw{stream: func(c net.Conn) net.Conn {
			return struct{ net.Conn }{c}
		}})},
		{check: "half-close reaches the client", says: "half-close", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.read = func(b []byte) (int, error) {
				n, err := c.Read(b)
				if err == io.EOF {
					c.Close()
				}
				return n, err
			}
		})},
		{check: "Close ends a read that waits", says: "goes on after Close", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.close = func() error { return nil }
		})},
		{check: "deadlines are kept", says: "goes on after its deadline", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.deadline = func(time.Time) error { return nil }
		})},
		{check: "deadlines are kept", says: "want os.ErrDeadlineExceeded", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.read = func(b []byte) (int, error) {
				n, err := c.Read(b)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					err = io.EOF
				}
				return n, err
			}
		})},
		{check: "writes of 1 byte and of 64 KiB arrive in order", says: "64 KiB", flaw: edit(func(_ *testing.T, c *net.TCPConn, e *edited) {
			e.write = func(b []byte) (int, error) {
				c.Write(b[:min(len(b), 40<<10)])
				return len(b), nil
			}
		})},
		{check: "200 flows at once do not mix", says: "full", flaw: func(*testing.T) framework.Descriptor {
			var open atomic.Int64
			return toyDescriptor(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
				if open.Add(1) > 150 {
					return nil, errors.New("full")
				}
				return ask(ctx, o, to)
			}})
		}},
	}
}

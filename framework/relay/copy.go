package relay

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// firstBuffer is what a leg reads into before it has seen a full read. Chosen:
// most flows through a wrapper that sit idle have carried less at a time.
const firstBuffer = 4 << 10

// copyBuffered moves bytes through a buffer until src ends, with io.EOF, or one
// side fails. A source that is no socket cannot be waited for without one: it
// is small until a read fills it, then of the pool.
func (s *stream) copyBuffered(src, dst net.Conn, count *atomic.Uint64) error {
	c := &copier{relay: s.relay, src: src, dst: dst, count: count, b: make([]byte, firstBuffer)}
	err := s.patiently(src, count, c)
	if c.pooled != nil {
		s.relay.buffers.Put(c.pooled)
	}
	return err
}

// copier is one direction that goes through a buffer.
type copier struct {
	relay    *Relay
	src, dst net.Conn
	count    *atomic.Uint64
	b        []byte
	pooled   *[]byte // b, when it is of the pool
}

// move carries bytes until the source ends or something fails.
func (c *copier) move() error {
	for {
		n, err := c.src.Read(c.b)
		if n > 0 {
			w, werr := c.dst.Write(c.b[:n])
			c.count.Add(uint64(w))
			if werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
		if n == len(c.b) && c.pooled == nil {
			c.pooled = c.relay.buffers.Get().(*[]byte)
			c.b = *c.pooled
		}
	}
}

// patiently calls m.move again when only the bound that follows the other
// direction's end has passed, and bytes have moved since it was set: so the
// bound is one on silence, and costs nothing while bytes move.
func (s *stream) patiently(src net.Conn, count *atomic.Uint64, m interface{ move() error }) error {
	seen := count.Load()
	for {
		err := m.move()
		if !errors.Is(err, os.ErrDeadlineExceeded) || s.ended.Load() == 0 {
			return err
		}
		moved := count.Load()
		if moved == seen {
			return err
		}
		seen = moved
		src.SetReadDeadline(time.Now().Add(s.relay.idleAfterEnd))
	}
}

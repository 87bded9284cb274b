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
	b := make([]byte, firstBuffer)
	var pooled *[]byte
	err := s.patiently(src, count, func() error {
		for {
			n, err := src.Read(b)
			if n > 0 {
				w, werr := dst.Write(b[:n])
				count.Add(uint64(w))
				if werr != nil {
					return werr
				}
			}
			if err != nil {
				return err
			}
			if n == len(b) && pooled == nil {
				pooled = s.relay.buffers.Get().(*[]byte)
				b = *pooled
			}
		}
	})
	if pooled != nil {
		s.relay.buffers.Put(pooled)
	}
	return err
}

// patiently calls move again when only the bound that follows the other
// direction's end has passed, and bytes have moved since it was set: so the
// bound is one on silence, and costs nothing while bytes move.
func (s *stream) patiently(src net.Conn, count *atomic.Uint64, move func() error) error {
	seen := count.Load()
	for {
		err := move()
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

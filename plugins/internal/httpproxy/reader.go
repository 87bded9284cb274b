package httpproxy

import (
	"bytes"
	"io"
	"sync"
)

// Sizes of read buffers in bytes; chosen: small for heads, of which many may
// be half read, large for bodies.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

// pools lend buffers to readers.
type pools struct {
	small, large sync.Pool // of *[]byte
	heads        sync.Pool // of *head
}

func (p *pools) take(large bool) *[]byte {
	pool, size := &p.small, smallBuffer
	if large {
		pool, size = &p.large, largeBuffer
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

func (p *pools) give(b *[]byte) {
	if len(*b) == largeBuffer {
		p.large.Put(b)
		return
	}
	p.small.Put(b)
}

// waiter is a source that can wait for bytes without taking any, so that no
// buffer is held meanwhile.
type waiter interface{ wait() error }

// reader reads ahead from src. It holds a buffer only while there is something
// in it or a read is under way.
type reader struct {
	src   io.Reader
	wait  waiter // src, when it is one
	pools *pools
	large bool // which buffer to take next
	buf   *[]byte
	r, w  int // what is read and not used
	first [1]byte
}

// buffered is how many bytes wait in the buffer.
func (r *reader) buffered() int { return r.w - r.r }

// next returns what is there, at least one byte, and reads when nothing is.
// The bytes stand until the next call; discard says how many were used.
func (r *reader) next() ([]byte, error) {
	for r.r == r.w {
		if r.wait != nil {
			r.release()
			if err := r.wait.wait(); err != nil {
				return nil, err
			}
		}
		if r.buf != nil && r.large != (len(*r.buf) == largeBuffer) {
			r.release()
		}
		if r.buf == nil {
			r.buf = r.pools.take(r.large)
		}
		n, err := r.src.Read(*r.buf)
		r.r, r.w = 0, n
		if n == 0 && err != nil {
			return nil, err
		}
	}
	return (*r.buf)[r.r:r.w], nil
}

func (r *reader) discard(n int) { r.r += n }

// idle waits for the next byte with no buffer held, and keeps it.
func (r *reader) idle() error {
	if r.r < r.w {
		return nil
	}
	r.release()
	if _, err := io.ReadFull(r.src, r.first[:]); err != nil {
		return err
	}
	r.prepend(r.first[:])
	return nil
}

// prepend puts b, at most a small buffer, before what is read next.
func (r *reader) prepend(b []byte) {
	if len(b) == 0 {
		return
	}
	r.buf = r.pools.take(false)
	r.r, r.w = 0, copy(*r.buf, b)
}

// release gives the buffer back and forgets what is in it.
func (r *reader) release() {
	if r.buf != nil {
		r.pools.give(r.buf)
		r.buf = nil
	}
	r.r, r.w = 0, 0
}

// line appends the next line to b, its end included. It fails with errTooLarge
// when b would be longer than limit.
func (r *reader) line(b []byte, limit int) ([]byte, error) {
	for {
		p, err := r.next()
		if err != nil {
			return b, err
		}
		i := bytes.IndexByte(p, '\n')
		n := i + 1
		if i < 0 {
			n = len(p)
		}
		if len(b)+n > limit {
			return b, errTooLarge
		}
		b = append(b, p[:n]...)
		r.discard(n)
		if i >= 0 {
			return b, nil
		}
	}
}

// head lends an empty head.
func (p *pools) head() *head {
	if h, ok := p.heads.Get().(*head); ok {
		return h
	}
	return new(head)
}

func (p *pools) giveHead(h *head) {
	if cap(h.buf) > keepHead || cap(h.out) > keepHead {
		return
	}
	h.first = nil
	h.buf, h.out, h.fields, h.lists = h.buf[:0], h.out[:0], h.fields[:0], h.lists[:0]
	p.heads.Put(h)
}

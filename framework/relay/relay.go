// Package relay moves the bytes of streams between a client and a server: both
// ways at once, half-close kept, counted while they move. On Linux, sockets are
// joined with splice(2) through pipes that are borrowed only while there is
// something in them; everything else goes through pooled buffers. It neither
// dials nor decides, and it looks through no wrapper: what it is given raw, it
// treats as raw.
package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// bufferSize is what a leg that is not spliced reads at once. Measured: 16 KiB
// costs a TLS leg a third of its download rate.
const bufferSize = 64 << 10

// Config limits a Relay. The zero value is the default.
type Config struct {
	// IdleAfterEnd is how long the direction that is left may be silent once
	// the other has ended: 0 is five minutes, negative is for ever. Before
	// that there is no bound, and dead peers are found by TCP keep-alive.
	IdleAfterEnd time.Duration
	// MaxPipes is how many pipes of 1 MiB there may be, in use and idle: 0 is
	// 256 for root and 48 for others, whose pipes the system counts; negative
	// is none. A flow that gets none copies. Only Linux has them.
	MaxPipes int
}

// Relay holds the buffers and pipes that its streams borrow. One serves the
// whole kernel; its methods are safe for concurrent use.
type Relay struct {
	idleAfterEnd time.Duration
	buffers      sync.Pool // of *[]byte, bufferSize long
	pipes        pipes
}

// New makes a Relay. Close gives its pipes back.
func New(c Config) *Relay {
	if c.IdleAfterEnd == 0 {
		c.IdleAfterEnd = 5 * time.Minute // chosen: longer than any pause a half-closed transfer makes
	}
	if c.MaxPipes == 0 {
		// Chosen: pipe-user-pages-soft lets a user without privileges have 64
		// of this size; the rest is for that user's other programs.
		c.MaxPipes = 48
		if os.Geteuid() == 0 {
			c.MaxPipes = 256
		}
	}
	r := &Relay{idleAfterEnd: max(0, c.IdleAfterEnd)}
	r.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	r.pipes.max = max(0, int64(c.MaxPipes))
	return r
}

// Close closes the pipes that are not in use. Streams that still run go on and
// keep none. It may be called twice.
func (r *Relay) Close() error {
	r.pipes.close()
	return nil
}

// Ender is told how a stream ended: Ended gets the first error that was no
// orderly end, net.ErrClosed for a connection that was closed from outside. It
// is called once, when both connections are closed and all bytes are counted.
type Ender interface{ Ended(err error) }

// PanicError is the end of a stream whose connection panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in a connection: %v", e.Value) }

// Start copies both ways until both directions have ended, closes both
// connections and tells e. head are bytes of the client's that were read
// before: they go to server first and count as bytes up. The end of one
// direction is passed on where the connection can say so, with CloseWrite. f.Up
// and f.Down grow with every write and are exact however the flow ends: they
// count what the receiving side took.
//
// Start returns at once and owns client and server from the call on. Each
// direction has a goroutine of its own: the caller's, with the stack that it
// grew to dial, can end.
func (r *Relay) Start(client, server net.Conn, head []byte, f *stats.Flow, e Ender) {
	s := &stream{relay: r, ender: e, flow: f, head: head}
	s.sides[0], s.sides[1] = client, server
	s.running.Store(2)
	go s.up()   // ends with the direction
	go s.down() // ends with the direction
}

// Stream is Start that returns when the stream has ended, with what Ended got.
func (r *Relay) Stream(client, server net.Conn, head []byte, f *stats.Flow) error {
	w := make(waiter, 1)
	r.Start(client, server, head, f, w)
	return <-w
}

type waiter chan error

func (w waiter) Ended(err error) { w <- err }

// stream is one flow while it is relayed.
type stream struct {
	relay   *Relay
	ender   Ender
	sides   [2]net.Conn
	flow    *stats.Flow
	head    []byte       // of the client's
	ended   atomic.Int32 // directions that ended in order
	running atomic.Int32 // directions that did not return

	once sync.Once // guards err, the first failure
	err  error
}

// up runs one way to its end. The last of the two ends the stream.
func (s *stream) up() {
	defer s.leave()
	if len(s.head) > 0 {
		n, err := s.sides[1].Write(s.head)
		s.flow.Up.Add(uint64(n))
		s.head = nil
		if err != nil {
			s.fail(err)
			return
		}
	}
	s.run(s.sides[0], s.sides[1], &s.flow.Up)
}

// down runs the other way.
func (s *stream) down() {
	defer s.leave()
	s.run(s.sides[1], s.sides[0], &s.flow.Down)
}

// leave ends a direction, a panic of one of its connections included.
func (s *stream) leave() {
	if r := recover(); r != nil {
		s.fail(&PanicError{r, debug.Stack()})
	}
	if s.running.Add(-1) == 0 {
		s.closeBoth()
		s.ender.Ended(s.err)
	}
}

// run copies from src to dst until src ends or one of them fails, and passes
// the end on.
func (s *stream) run(src, dst net.Conn, count *atomic.Uint64) {
	err := s.copy(src, dst, count)
	if err != nil && !errors.Is(err, io.EOF) {
		s.fail(err)
		return
	}
	s.end(src, dst)
}

// end passes the orderly end of src on to dst. When the other direction still
// runs, it gets a bound: its source is dst.
func (s *stream) end(src, dst net.Conn) {
	if s.ended.Add(1) == 2 {
		return // Stream closes both
	}
	if err := closeWrite(dst); err != nil {
		if !gone(err) {
			s.fail(err)
		}
		return // the other direction ends at once
	}
	if s.relay.idleAfterEnd > 0 {
		dst.SetReadDeadline(time.Now().Add(s.relay.idleAfterEnd))
	}
}

// fail keeps the first error and closes both sides, which wakes the direction
// that waits.
func (s *stream) fail(err error) {
	s.once.Do(func() { s.err = err })
	s.closeBoth()
}

func (s *stream) closeBoth() {
	s.sides[0].Close()
	s.sides[1].Close()
}

// closeWrite tells c's peer that nothing more comes. A connection that cannot
// say so stays open until the other direction ends.
func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// gone says whether err only tells that the peer left already.
func gone(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed)
}

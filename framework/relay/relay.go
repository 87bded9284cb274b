// Package relay moves the bytes of streams between a client and a server: both
// ways at once, half-close kept, counted while they move. On Linux, sockets are
// joined with splice(2) through pipes that are borrowed only while there is
// something in them; everything else goes through pooled buffers. It neither
// dials nor decides, and it looks through no wrapper: what it is given raw, it
// treats as raw.
package relay

import (
	"errors"
	"io"
	"net"
	"os"
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
	// MaxPipes is how many pipes there may be, in use and idle: 0 is 48,
	// negative is none. A flow that gets none copies. Only Linux has them.
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
	}
	r := &Relay{idleAfterEnd: max(0, c.IdleAfterEnd)}
	r.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	r.pipes.max = max(0, c.MaxPipes)
	return r
}

// Close closes the pipes that are not in use. Streams that still run go on and
// keep none. It may be called twice.
func (r *Relay) Close() error {
	r.pipes.close()
	return nil
}

// Stream copies both ways until both directions have ended, closes both
// connections and returns the first error that was no orderly end; the end of a
// connection that was closed from outside is net.ErrClosed. head are bytes of
// the client's that were read before: they go to server first and count as
// bytes up. The end of one direction is passed on where the connection can say
// so, with CloseWrite. f.Up and f.Down grow with every write and are exact
// however the flow ends: they count what the receiving side took. Stream blocks,
// uses the calling goroutine for one direction and one more for the other, and
// owns client and server from the call on.
func (r *Relay) Stream(client, server net.Conn, head []byte, f *stats.Flow) error {
	s := stream{relay: r}
	s.sides[0], s.sides[1] = client, server
	if len(head) > 0 {
		n, err := server.Write(head)
		f.Up.Add(uint64(n))
		if err != nil {
			s.fail(err)
		}
	}
	done := make(chan struct{})
	go func() { // ends with the direction down
		s.run(server, client, &f.Down)
		close(done)
	}()
	s.run(client, server, &f.Up)
	<-done
	s.closeBoth()
	return s.err
}

// stream is one flow while it is relayed.
type stream struct {
	relay *Relay
	sides [2]net.Conn
	ended atomic.Int32 // directions that ended in order

	once sync.Once // guards err, the first failure
	err  error
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
	if err := closeWrite(dst); err != nil && !gone(err) {
		s.fail(err)
		return
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

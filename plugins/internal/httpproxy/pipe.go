package httpproxy

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// newPipe makes two ends of a full-duplex stream in memory. A write waits for
// the other end's reads, so the pipe holds no buffer. Each direction closes for
// itself. The ends are safe for concurrent use.
func newPipe(local, remote net.Addr) (near, far *pipe) {
	up, down := newLane(), newLane()
	return &pipe{in: down, out: up, local: local, remote: remote}, &pipe{in: up, out: down, local: remote, remote: local}
}

// pipe is one end, a net.Conn with CloseWrite.
type pipe struct {
	in, out       *lane
	local, remote net.Addr
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.write(b) }

// wait returns when a read would not block.
func (p *pipe) wait() error { return p.in.wait() }

// quiet says whether nothing came and nothing ended on p.
func (p *pipe) quiet() bool { return p.in.quiet() && p.out.quiet() }

// abandoned says whether the other end reads no more.
func (p *pipe) abandoned() bool {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.end == io.ErrClosedPipe
}

// CloseWrite lets the other end read to the end of what was written.
func (p *pipe) CloseWrite() error {
	p.out.close(io.EOF)
	return nil
}

// Close ends both directions; the other end reads an end and cannot write.
func (p *pipe) Close() error {
	p.in.close(io.ErrClosedPipe)
	p.out.close(io.EOF)
	return nil
}

// abort is Close by a side that broke off: the other end reads what a reset
// connection gives, and need not wait for its own peer.
func (p *pipe) abort() {
	p.in.close(io.ErrClosedPipe)
	p.out.close(syscall.ECONNRESET)
}

func (p *pipe) LocalAddr() net.Addr  { return p.local }
func (p *pipe) RemoteAddr() net.Addr { return p.remote }

func (p *pipe) SetDeadline(t time.Time) error {
	p.in.reading.set(p.in, t)
	p.out.writing.set(p.out, t)
	return nil
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.in.reading.set(p.in, t)
	return nil
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.out.writing.set(p.out, t)
	return nil
}

// lane is one direction.
type lane struct {
	turn sync.Mutex // one writer at a time

	mu      sync.Mutex // guards all below
	wake    sync.Cond
	data    []byte // what the writer waits to have read; nil when nobody writes
	end     error  // io.EOF or ECONNRESET from the writer's side, io.ErrClosedPipe from the reader's
	reading deadline
	writing deadline
}

// deadline is when one side gives up. The lane's mu guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newLane() *lane {
	l := new(lane)
	l.wake.L = &l.mu
	return l
}

func (d *deadline) set(l *lane, t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.wake.Broadcast()
		})
	}
	l.wake.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// ready waits until there is data or an end; the caller holds mu.
func (l *lane) ready() error {
	for {
		switch {
		case l.reading.passed():
			return os.ErrDeadlineExceeded
		case l.end == io.ErrClosedPipe:
			return l.end
		case len(l.data) > 0:
			return nil
		case l.end != nil:
			return l.end
		}
		l.wake.Wait()
	}
}

func (l *lane) wait() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready()
}

func (l *lane) read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ready(); err != nil || len(b) == 0 {
		return 0, err
	}
	n := copy(b, l.data)
	if l.data = l.data[n:]; len(l.data) == 0 {
		l.wake.Broadcast()
	}
	return n, nil
}

func (l *lane) write(b []byte) (int, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = b
	l.wake.Broadcast()
	for len(l.data) > 0 {
		err := l.end
		if err != nil {
			err = io.ErrClosedPipe
		} else if l.writing.passed() {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			n := len(b) - len(l.data)
			l.data = nil
			return n, err
		}
		l.wake.Wait()
	}
	l.data = nil
	return len(b), nil
}

// close ends the lane; the first reason but the reader's stands.
func (l *lane) close(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == nil || reason == io.ErrClosedPipe {
		l.end = reason
	}
	for _, d := range []*deadline{&l.reading, &l.writing} {
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
	}
	l.wake.Broadcast()
}

func (l *lane) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end == nil && len(l.data) == 0
}

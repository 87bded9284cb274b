package relay

import (
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe holds: /proc/sys/fs/pipe-max-size, the most that
	// a user without privileges may ask for, is this on every distribution.
	pipeSize = 1 << 20
	// minPipeSize is the least that is worth it: a user over pipe-user-pages-soft
	// gets pipes of two pages, and a buffer is better than those.
	minPipeSize = bufferSize
)

// pipe is an empty kernel pipe, or one with the bytes of one turn.
type pipe struct{ r, w, size int }

// pipes lends pipes and keeps those that came back empty.
type pipes struct {
	max int // how many there may be

	mu     sync.Mutex // guards all below
	idle   []pipe
	open   int // those lent and those idle
	closed bool
}

// get borrows a pipe; ok is false when there is none to be had, and the caller
// copies instead.
func (p *pipes) get() (pi pipe, ok bool) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		pi = p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return pi, true
	}
	ok = p.open < p.max && !p.closed
	if ok {
		p.open++
	}
	p.mu.Unlock()
	if !ok {
		return pipe{}, false
	}
	if pi, ok = makePipe(); !ok {
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
	}
	return pi, ok
}

// put gives a pipe back. One that is not empty is closed.
func (p *pipes) put(pi pipe, empty bool) {
	p.mu.Lock()
	keep := empty && !p.closed
	if keep {
		p.idle = append(p.idle, pi)
	} else {
		p.open--
	}
	p.mu.Unlock()
	if !keep {
		pi.close()
	}
}

// close closes the idle pipes, and lets nobody have one from then on.
func (p *pipes) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.open -= len(idle)
	p.mu.Unlock()
	for _, pi := range idle {
		pi.close()
	}
}

func makePipe() (pipe, bool) {
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, false
	}
	pi := pipe{r: fd[0], w: fd[1]}
	size, err := unix.FcntlInt(uintptr(pi.w), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil { // not allowed: what it has must do
		size, err = unix.FcntlInt(uintptr(pi.w), unix.F_GETPIPE_SZ, 0)
	}
	if err != nil || size < minPipeSize {
		pi.close()
		return pipe{}, false
	}
	pi.size = size
	return pi, true
}

func (p pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

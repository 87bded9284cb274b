package relay

import (
	"runtime"
	"sync"
	"sync/atomic"

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
type pipe struct {
	ends [2]int // to read, to write
	size int
	stop runtime.Cleanup
}

// pipes lends pipes and keeps those that came back empty. A sync.Pool keeps
// them near the processor that used them last, which is worth 5 % of the CPU
// with 64 busy flows against one list for all; what it drops is closed by the
// pipe's cleanup, so a quiet relay holds none after two collections.
type pipes struct {
	max    int64 // how many there may be
	open   atomic.Int64
	closed atomic.Bool
	idle   sync.Pool // of *pipe
}

// get borrows a pipe; nil means that there is none to be had, and the caller
// copies instead.
func (p *pipes) get() *pipe {
	if pi, ok := p.idle.Get().(*pipe); ok {
		return pi
	}
	if p.closed.Load() {
		return nil
	}
	if p.open.Add(1) > p.max {
		p.open.Add(-1)
		return nil
	}
	pi := makePipe()
	if pi == nil {
		p.open.Add(-1)
		return nil
	}
	pi.stop = runtime.AddCleanup(pi, p.shut, pi.ends)
	return pi
}

// put gives a pipe back. One that is not empty is closed.
func (p *pipes) put(pi *pipe, empty bool) {
	if empty && !p.closed.Load() {
		p.idle.Put(pi)
		return
	}
	pi.stop.Stop()
	p.shut(pi.ends)
}

// close closes the idle pipes, and lets nobody have one from then on.
func (p *pipes) close() {
	p.closed.Store(true)
	for pi, ok := p.idle.Get().(*pipe); ok; pi, ok = p.idle.Get().(*pipe) {
		p.put(pi, false)
	}
}

// shut closes a pipe's ends.
func (p *pipes) shut(ends [2]int) {
	unix.Close(ends[0])
	unix.Close(ends[1])
	p.open.Add(-1)
}

func makePipe() *pipe {
	pi := new(pipe)
	if err := unix.Pipe2(pi.ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil
	}
	size, err := unix.FcntlInt(uintptr(pi.ends[1]), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil { // not allowed: what it has must do
		size, err = unix.FcntlInt(uintptr(pi.ends[1]), unix.F_GETPIPE_SZ, 0)
	}
	if err != nil || size < minPipeSize {
		unix.Close(pi.ends[0])
		unix.Close(pi.ends[1])
		return nil
	}
	pi.size = size
	return pi
}

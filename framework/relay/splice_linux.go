package relay

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// spliceAfter is how many bytes in large reads make a leg change over from
	// buffers to pipes. Chosen: short answers never pay for a pipe; 256 KiB
	// cost 4 % of the CPU of flows of 32 MiB.
	spliceAfter = 64 << 10
	// smallTurn is a turn that says that the leg carries messages, which a
	// buffer moves as well as a pipe. Chosen: about three segments.
	smallTurn = 4 << 10
	// calmAfter is how many small turns in a row make a leg change back.
	calmAfter = 16
)

// leg is one direction of a stream whose source is a socket. Its goroutine
// waits in RawConn.Read, with a shallow stack and nothing borrowed: buffer and
// pipe are taken when a read can succeed and given back before waiting again.
//
//	copying ── spliceAfter bytes in large reads ──► splicing
//	   ▲ └──────────── one turn, no pipe to be had ◄────┤
//	   └── calmAfter small turns, or splice is refused ─┘
type leg struct {
	relay    *Relay
	count    *atomic.Uint64
	src, dst syscall.RawConn // dst is nil until it is needed
	out      net.Conn        // dst

	fills, takes, gives func(fd uintptr) bool // methods as values, made once

	refused bool // the kernel does not splice between these two
	run     int  // bytes of large reads without a small one between, while copying
	calm    int  // small turns in a row, while splicing

	// The turn at hand.
	buffer *[]byte // holds n bytes, while copying
	pipe   *pipe   // holds n bytes, while splicing
	n      int
	err    error // of the system call
}

// copy moves bytes from src to dst until src ends, with io.EOF.
func (s *stream) copy(src, dst net.Conn, count *atomic.Uint64) error {
	from := rawConn(src)
	if from == nil {
		return s.copyBuffered(src, dst, count)
	}
	return s.patiently(src, count, &leg{relay: s.relay, count: count, src: from, out: dst})
}

// rawConn is the descriptor of a plain stream socket, nil for anything else:
// what wraps a socket changes its bytes.
func rawConn(c net.Conn) syscall.RawConn {
	var rc syscall.RawConn
	switch c := c.(type) {
	case *net.TCPConn:
		rc, _ = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() == "unix" {
			rc, _ = c.SyscallConn()
		}
	}
	return rc
}

// move carries bytes until the source ends or something fails. It may be
// called again after a deadline has passed.
func (l *leg) move() error {
	if l.fills == nil {
		l.fills = l.fill
	}
	for {
		if l.splices() {
			if err := l.splice(); err != nil {
				return err
			}
			continue
		}
		if err := l.src.Read(l.fills); err != nil {
			return err
		}
		if err := l.write(); err != nil {
			return err
		}
	}
}

// splices says whether the next turn goes through a pipe. What that takes is
// made when it is first needed: most flows are short.
func (l *leg) splices() bool {
	if l.refused || l.run < spliceAfter {
		return false
	}
	if l.takes == nil {
		if l.dst == nil {
			l.dst = rawConn(l.out)
		}
		l.refused = l.dst == nil
		l.takes, l.gives = l.take, l.give
	}
	return !l.refused
}

// fill reads what there is into a borrowed buffer; false means nothing yet.
func (l *leg) fill(fd uintptr) bool {
	b := l.relay.buffers.Get().(*[]byte)
	for {
		l.n, l.err = unix.Read(int(fd), *b)
		if l.err != unix.EINTR {
			break
		}
	}
	if l.err != nil || l.n == 0 {
		l.relay.buffers.Put(b)
		return l.err != unix.EAGAIN
	}
	l.buffer = b
	return true
}

// write sends what fill has read and gives the buffer back.
func (l *leg) write() error {
	if l.err != nil {
		return os.NewSyscallError("read", l.err)
	}
	if l.n == 0 {
		return io.EOF
	}
	n, err := l.out.Write((*l.buffer)[:l.n])
	l.count.Add(uint64(n))
	l.relay.buffers.Put(l.buffer)
	l.buffer = nil
	if l.n < smallTurn {
		l.run = 0
	} else {
		l.run += l.n
	}
	return err
}

// splice makes one turn through a pipe.
func (l *leg) splice() error {
	err := l.src.Read(l.takes)
	switch {
	case err != nil:
		return err
	case l.err == unix.EINVAL || l.err == unix.ENOSYS:
		l.refused = true
		return nil
	case l.err != nil:
		return os.NewSyscallError("splice", l.err)
	case l.pipe == nil:
		l.run = 0 // no pipe to be had: copy, and ask again later
		return nil
	case l.n == 0:
		l.release(true)
		return io.EOF
	}
	if l.calm++; l.n >= smallTurn {
		l.calm = 0
	} else if l.calm == calmAfter {
		l.run, l.calm = 0, 0
	}
	return l.drain()
}

// take fills a borrowed pipe with what there is; false means nothing yet.
func (l *leg) take(fd uintptr) bool {
	if l.pipe = l.relay.pipes.get(); l.pipe == nil {
		l.err = nil
		return true
	}
	for {
		n, err := unix.Splice(int(fd), nil, l.pipe.ends[1], nil, l.pipe.size, unix.SPLICE_F_NONBLOCK)
		l.n, l.err = int(n), err
		if err != unix.EINTR {
			break
		}
	}
	if l.err != nil {
		l.n = 0
		l.release(true)
		return l.err != unix.EAGAIN
	}
	return true
}

// drain empties the pipe into dst.
func (l *leg) drain() error {
	err := l.dst.Write(l.gives)
	if err == nil && l.err != nil {
		if l.err == unix.EINVAL || l.err == unix.ENOSYS {
			l.refused = true
			return l.unload()
		}
		err = os.NewSyscallError("splice", l.err)
	}
	l.release(l.n == 0)
	return err
}

// give moves bytes from the pipe to dst; false means that dst is full.
func (l *leg) give(fd uintptr) bool {
	for l.n > 0 {
		n, err := unix.Splice(l.pipe.ends[0], nil, int(fd), nil, l.n, unix.SPLICE_F_NONBLOCK)
		switch l.err = err; {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err != nil:
			return true
		}
		l.n -= int(n)
		l.count.Add(uint64(n))
	}
	return true
}

// unload copies what is left in the pipe, for a dst that does not splice.
func (l *leg) unload() error {
	b := l.relay.buffers.Get().(*[]byte)
	defer l.relay.buffers.Put(b)
	defer func() { l.release(l.n == 0) }()
	for l.n > 0 {
		n, err := unix.Read(l.pipe.ends[0], (*b)[:min(l.n, len(*b))])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		l.n -= n
		w, err := l.out.Write((*b)[:n])
		l.count.Add(uint64(w))
		if err != nil {
			return err
		}
	}
	return nil
}

// release gives the pipe back.
func (l *leg) release(empty bool) {
	l.relay.pipes.put(l.pipe, empty)
	l.pipe = nil
}

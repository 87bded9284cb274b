package wire

import (
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

var errLong = errors.New("datagram does not fit a record")

// AppendRecord writes one datagram as a record:
//
//	length 2B | address | payload
//
// length counts address and payload. Several records may be written at once.
func AppendRecord(b, payload []byte, a framework.Addr) ([]byte, error) {
	start := len(b)
	out, err := AppendAddr(append(b, 0, 0), a)
	if err != nil {
		return b, err
	}
	n := len(out) - start - 2 + len(payload)
	if n > 1<<16-1 {
		return b, errLong
	}
	binary.BigEndian.PutUint16(out[start:], uint16(n))
	return append(out, payload...), nil
}

const (
	// maxRecord is the longest record.
	maxRecord = 2 + 1<<16 - 1
	// firstRead is what a session reads into until a read fills it. Chosen:
	// two full packets of an Ethernet; most sessions carry questions to DNS.
	firstRead = 4 << 10
	// maxPending is how much may wait to be written before packets are
	// dropped, as a full socket buffer drops them. Chosen: as much as Linux
	// lets a Unix socket hold by default.
	maxPending = 208 << 10
)

// PacketConn carries datagrams as records over a stream. It is the
// framework.PacketConn of both ends. Packets to and from addresses cost no
// allocation, and neither do those of one host name.
type PacketConn struct {
	conn net.Conn

	buf  []byte // what was read; r and w are the part that is not used yet
	r, w int
	last string // the last name that was read

	mu      sync.Mutex // guards pending, closed
	pending []byte     // records that wait for flush
	closed  bool
	wake    chan struct{}
	flushed chan struct{} // closes when flush ended
	failed  atomic.Bool
	dropped atomic.Uint64
}

// NewPacketConn makes a PacketConn over c and takes ownership of it.
func NewPacketConn(c net.Conn) *PacketConn {
	p := &PacketConn{conn: c, wake: make(chan struct{}, 1), flushed: make(chan struct{})}
	go p.flush() // ends with Close or the first failed write
	return p
}

// ReadPacket implements framework.PacketConn. A record that is malformed ends
// the session: what follows cannot be told apart.
func (p *PacketConn) ReadPacket(b []byte) (int, framework.Addr, error) {
	rec, err := p.next()
	if err != nil {
		return 0, framework.Addr{}, err
	}
	from, payload, err := ParseAddr(rec, p.last)
	if err != nil {
		return 0, framework.Addr{}, framework.Classed(framework.ErrProtocol, err)
	}
	p.last = from.Host
	return copy(b, payload), from, nil
}

// next is the next record without its length. It is valid until the next call.
func (p *PacketConn) next() ([]byte, error) {
	if err := p.need(2); err != nil {
		return nil, err
	}
	n := 2 + int(binary.BigEndian.Uint16(p.buf[p.r:]))
	if err := p.need(n); err != nil {
		return nil, err
	}
	rec := p.buf[p.r+2 : p.r+n]
	p.r += n
	return rec, nil
}

// need reads until n bytes are there.
func (p *PacketConn) need(n int) error {
	for p.w-p.r < n {
		if p.r == p.w {
			p.r, p.w = 0, 0
		}
		p.room(n)
		got, err := p.conn.Read(p.buf[p.w:])
		p.w += got
		if err != nil && p.w-p.r < n {
			return p.readError(err)
		}
	}
	return nil
}

// room makes space for n bytes from r on, and some more.
func (p *PacketConn) room(n int) {
	switch {
	case p.buf == nil:
		p.buf = make([]byte, firstRead)
	case p.w == len(p.buf) && len(p.buf) < maxRecord:
		p.grow()
	}
	if p.r+n > len(p.buf) {
		p.w = copy(p.buf, p.buf[p.r:p.w])
		p.r = 0
	}
	if n > len(p.buf) {
		p.grow()
	}
}

func (p *PacketConn) grow() {
	big := make([]byte, maxRecord)
	p.w = copy(big, p.buf[p.r:p.w])
	p.buf, p.r = big, 0
}

func (p *PacketConn) readError(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	return err
}

// WritePacket implements framework.PacketConn. The packet is written by
// another goroutine, together with those that wait; when too many do, it is
// dropped.
func (p *PacketConn) WritePacket(b []byte, to framework.Addr) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.failed.Load() {
		return 0, net.ErrClosed
	}
	if len(p.pending) > maxPending {
		p.dropped.Add(1)
		return len(b), nil
	}
	out, err := AppendRecord(p.pending, b, to)
	if err != nil {
		return 0, framework.Classed(framework.ErrUnsupported, err)
	}
	p.pending = out
	select {
	case p.wake <- struct{}{}:
	default: // flush is awake and looks again
	}
	return len(b), nil
}

// flush writes what waits, as much as there is at a time.
func (p *PacketConn) flush() {
	defer close(p.flushed)
	var spare []byte
	for range p.wake {
		runtime.Gosched() // who writes a burst goes first: one write for all of it
		p.mu.Lock()
		batch := p.pending
		p.pending = spare[:0]
		p.mu.Unlock()
		if _, err := p.conn.Write(batch); err != nil {
			p.failed.Store(true)
			return
		}
		if spare = batch; cap(spare) > maxRecord {
			spare = nil // a burst does not keep its memory
		}
	}
}

// Dropped is how many packets were dropped on their way out.
func (p *PacketConn) Dropped() uint64 { return p.dropped.Load() }

// SetReadDeadline implements framework.PacketConn.
func (p *PacketConn) SetReadDeadline(t time.Time) error { return p.conn.SetReadDeadline(t) }

// Close ends both directions. It may be called twice.
func (p *PacketConn) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.wake)
	p.mu.Unlock()
	err := p.conn.Close()
	<-p.flushed
	return err
}

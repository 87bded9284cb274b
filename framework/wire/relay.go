package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// afterEnd is how long the direction that is left may be silent once the other
// has ended. Chosen: shorter than the kernel's own bound of five minutes, which
// has the first word where the kernel is an end.
const afterEnd = 10 * time.Minute

// copyBuffer is what a direction without splice reads at once, as in
// framework/relay.
const copyBuffer = 64 << 10

// buffers lends what streams copy through.
type buffers struct{ pool sync.Pool }

func (p *buffers) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copyBuffer)
	return &b
}

// relayStreams copies both ways until both directions have ended, or one
// fails, and closes both. Between sockets the system moves the bytes.
func (p *buffers) relayStreams(a, b net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { p.oneWay(b, a) }) // ends with a, b, or afterEnd
	p.oneWay(a, b)
	wg.Wait()
	a.Close()
	b.Close()
}

// oneWay copies src to dst until src ends.
func (p *buffers) oneWay(dst, src net.Conn) {
	b := p.get()
	defer p.pool.Put(b)
	n, err := int64(1), os.ErrDeadlineExceeded
	for n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		if n, err = io.CopyBuffer(dst, src, *b); n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			src.SetReadDeadline(time.Now().Add(afterEnd))
		}
	}
	if err != nil {
		dst.Close()
		src.Close()
		return
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	dst.SetReadDeadline(time.Now().Add(afterEnd))
}

// relayPackets copies both ways until one side ends, and closes both.
func relayPackets(a, b framework.PacketConn) {
	var wg sync.WaitGroup
	wg.Go(func() { packetsOneWay(a, b) }) // ends when a or b does
	packetsOneWay(b, a)
	wg.Wait()
}

func packetsOneWay(dst, src framework.PacketConn) {
	defer dst.Close()
	defer src.Close()
	b := make([]byte, 1<<16)
	for {
		n, from, err := src.ReadPacket(b)
		if err != nil {
			return
		}
		if _, err := dst.WritePacket(b[:n], from); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

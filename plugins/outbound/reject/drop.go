package reject

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// silence is how long a swallowed stream stays open, as measured on the peer
// (config-rules.md §5).
const silence = 60 * time.Second

// NewDrop makes a reject-drop outbound.
func NewDrop(context.Context, framework.Host, Config) (framework.Outbound, error) { return drop{}, nil }

type drop struct{}

// DialStream returns a stream that swallows what is written and ends after a
// minute.
func (drop) DialStream(context.Context, framework.Addr) (net.Conn, error) {
	h := newHush()
	h.end = time.AfterFunc(silence, h.finish)
	return h, nil
}

// DialPacket returns a session that swallows packets until it is closed.
func (drop) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return packets{newHush()}, nil
}

// Close implements io.Closer. Streams live on until their minute is over.
func (drop) Close() error { return nil }

// hush is a stream that nobody speaks on. Reads wait on a pipe whose far end
// only ever closes, so no goroutine is needed.
type hush struct {
	net.Conn
	far  net.Conn
	end  *time.Timer // nil: silent for ever
	over atomic.Bool
}

func newHush() *hush {
	near, far := net.Pipe()
	return &hush{Conn: near, far: far}
}

// Write swallows b.
func (h *hush) Write(b []byte) (int, error) {
	if h.over.Load() {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// CloseWrite ends the stream: a client that is done needs no more silence.
func (h *hush) CloseWrite() error {
	h.finish()
	return nil
}

// Close implements net.Conn.
func (h *hush) Close() error {
	if h.end != nil {
		h.end.Stop()
	}
	h.finish()
	return h.Conn.Close()
}

// finish makes reads return io.EOF.
func (h *hush) finish() {
	h.over.Store(true)
	h.far.Close()
}

type packets struct{ *hush }

// ReadPacket waits until the session is closed or the read deadline is over.
func (p packets) ReadPacket(b []byte) (int, framework.Addr, error) {
	_, err := p.Read(b)
	if p.over.Load() {
		err = net.ErrClosed
	}
	return 0, framework.Addr{}, err
}

// WritePacket swallows b.
func (p packets) WritePacket(b []byte, _ framework.Addr) (int, error) {
	if p.over.Load() {
		return 0, net.ErrClosed
	}
	return len(b), nil
}

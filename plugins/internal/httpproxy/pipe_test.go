package httpproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestPipeCarriesBytesAndHalfCloses(t *testing.T) {
	t.Parallel()
	near, far := newPipe(nil, nil)
	go func() {
		io.WriteString(near, "hello ")
		io.WriteString(near, "there")
		near.CloseWrite()
	}()
	if b, err := io.ReadAll(far); err != nil || string(b) != "hello there" {
		t.Errorf("got %q, %v", b, err)
	}
	go io.WriteString(far, "back")
	b := make([]byte, 4)
	if _, err := io.ReadFull(near, b); err != nil || string(b) != "back" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := near.Write(b); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after its end: got %v", err)
	}
}

func TestPipeEndsBothSides(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		close func(*pipe)
		want  error
	}{
		"close": {func(p *pipe) { p.Close() }, io.EOF},
		"abort": {(*pipe).abort, syscall.ECONNRESET},
	} {
		near, far := newPipe(nil, nil)
		written := make(chan error)
		go func() {
			_, err := far.Write([]byte("never read"))
			written <- err
		}()
		near.wait()
		if near.quiet() {
			t.Errorf("%s: a pipe with bytes waiting is quiet", name)
		}

		end.close(near)
		end.close(near)

		if err := <-written; !errors.Is(err, io.ErrClosedPipe) || !far.abandoned() {
			t.Errorf("%s: write got %v", name, err)
		}
		if _, err := far.Read(make([]byte, 1)); err != end.want {
			t.Errorf("%s: read got %v, want %v", name, err, end.want)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: own read got %v", name, err)
		}
	}
}

func TestPipeKeepsDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := newPipe(nil, nil)
		for range 2 { // the second time for deadlines that are reset
			begin := time.Now()
			near.SetDeadline(begin.Add(time.Second))
			if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
				t.Errorf("read: got %v after %v", err, time.Since(begin))
			}
			if n, err := near.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: got %d, %v", n, err)
			}
		}
		near.SetDeadline(time.Time{})
		go near.Write([]byte("x"))
		far.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := far.Read(make([]byte, 1)); err != nil {
			t.Errorf("got %v", err)
		}
		near.Close()
		far.Close()
	})
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("CONNECT a.test:443 HTTP/1.1\r\n\r\n"))
	f.Add([]byte("POST http://a.test/ HTTP/1.1\r\nConnection: close, x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\nX: y\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := new(head)
		r := reader{src: bytes.NewReader(b), pools: new(pools)}
		if h.read(&r, false) == nil {
			h.parseResponse("GET")
		}
		r = reader{src: bytes.NewReader(b), pools: new(pools)}
		if h.read(&r, true) != nil {
			return
		}
		req, err := h.parseRequest()
		if err != nil {
			return
		}
		out := appendRequest(nil, h, req, []byte("a.test"), []byte("/"))
		again := new(head)
		r = reader{src: bytes.NewReader(out), pools: new(pools)}
		if err := again.read(&r, true); err != nil {
			t.Fatalf("%q became %q: %v", b, out, err)
		}
		back, err := again.parseRequest()
		if err != nil || back.body != req.body || !bytes.Equal(back.method, req.method) || r.buffered() != 0 {
			t.Fatalf("%q became %q: %v", b, out, err)
		}
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\nX: y\r\n\r\n"), true)
	f.Add([]byte("5;a=b\nhello\n0\n\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, strict bool) {
		var out bytes.Buffer
		copied := func(in []byte, strict bool) error {
			out.Reset()
			r := reader{src: bytes.NewReader(in), pools: new(pools)}
			c := body{in: &r, out: &out, from: framing{kind: byChunks}, chunks: true, strict: strict, moved: func() {}}
			return c.copy()
		}
		if copied(b, strict) != nil {
			return
		}
		first := bytes.Clone(out.Bytes())
		if err := copied(first, true); err != nil || !bytes.Equal(first, out.Bytes()) {
			t.Fatalf("%q became %q and then %q: %v", b, first, out.Bytes(), err)
		}
	})
}

func BenchmarkConnect(b *testing.B) {
	request := []byte("CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\nUser-Agent: curl/8.5.0\r\nProxy-Connection: Keep-Alive\r\n\r\n")
	s := &Server{Handler: drop{}, Admission: inboundtest.Access{}, HandshakeTime: time.Second}
	c := &idleConn{}
	b.ReportAllocs()
	for b.Loop() {
		c.in = request
		s.Serve(context.Background(), Accepted{Conn: c, Guard: c})
	}
}

func BenchmarkPlainBody(b *testing.B) {
	const size = 1 << 20
	p := new(pools)
	near, far := newPipe(nil, nil)
	block := make([]byte, 64<<10)
	go func() { // ends with the pipe
		for {
			if _, err := far.Write(block); err != nil {
				return
			}
		}
	}()
	in := reader{src: near, wait: near, pools: p}
	c := body{in: &in, out: io.Discard, from: framing{byLength, size}, moved: func() {}}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.copy(); err != nil {
			b.Fatal(err)
		}
	}
	near.Close()
}

// drop is a Handler that answers and ends every stream.
type drop struct{}

func (drop) HandleStream(_ context.Context, s framework.Stream, _ *framework.Flow) {
	s.Client.Reply(nil)
}
func (drop) HandlePackets(context.Context, framework.PacketServer, framework.Origin) {}

// idleConn is a client that sends in and then nothing.
type idleConn struct {
	pipe
	in []byte
}

func (c *idleConn) Read(b []byte) (int, error) {
	n := copy(b, c.in)
	c.in = c.in[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (c *idleConn) Write(b []byte) (int, error) { return len(b), nil }
func (c *idleConn) Close() error                { return nil }
func (c *idleConn) Busy() bool                  { return true }
func (c *idleConn) Wait(time.Duration) bool     { return true }

package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// raw sends bytes and returns all that comes back until the server closes or
// the answer's end is in sight.
func (s *server) raw(request string) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(waitLimit))
	if _, err := io.WriteString(c, request); err != nil {
		return ""
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

// dial opens a WebSocket.
func (s *server) dial(path string, header ...string) *websocket.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitLimit)
	defer cancel()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	c, _, err := websocket.Dial(ctx, s.URL+path, &websocket.DialOptions{HTTPClient: s.Client(), HTTPHeader: h})
	if err != nil {
		s.t.Fatalf("dial %s: %v", path, err)
	}
	c.SetReadLimit(64 << 20)
	s.t.Cleanup(func() { c.CloseNow() })
	return c
}

// next reads one text message.
func (s *server) next(c *websocket.Conn) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitLimit)
	defer cancel()
	typ, b, err := c.Read(ctx)
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	if typ != websocket.MessageText {
		s.t.Errorf("got a %v message, want text", typ)
	}
	return string(b)
}

func TestTrafficAndMemoryStream(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	openFlow(s.fake.stats, "a.test", 100, 200)
	traffic := s.dial("/traffic?token=" + secret)
	memory := s.dial("/memory", "Authorization", "Bearer "+secret)
	start := time.Now()

	first := s.next(traffic)

	if first != `{"up":0,"down":0,"upTotal":100,"downTotal":200}`+"\n" {
		t.Errorf("got %q", first)
	}
	if d := time.Since(start); d < 500*time.Millisecond {
		t.Errorf("the first message came after %v, want about a second", d)
	}
	if got := s.next(memory); got != `{"inuse":0,"oslimit":0}`+"\n" {
		t.Errorf("got first memory %q, want 0", got)
	}
	var m struct{ InUse, OSLimit uint64 }
	if err := json.Unmarshal([]byte(s.next(memory)), &m); err != nil || m.InUse < 1<<20 {
		t.Errorf("got memory %+v, %v, want more than a MiB", m, err)
	}
}

func TestPlainStreamSendsItsHeaderAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/logs?level=warning", nil)
	req.Header.Set("Authorization", "Bearer "+secret)

	resp, err := s.Client().Do(req) // returns with the header; no line is written before
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.fake.logger.Info("not asked for")
	s.fake.logger.Warn("a warning", "err", "x\"y")
	line, err := bufio.NewReader(resp.Body).ReadString('\n')

	if err != nil || line != `{"type":"warning","payload":"a warning err=x\"y"}`+"\n" {
		t.Errorf("got %q, %v", line, err)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("got Content-Type %q", ct)
	}
}

func TestLogLevelsAreTranslated(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	info := s.dial("/logs?token=" + secret)
	debug := s.dial("/logs?level=debug&format=structured&token=" + secret)
	s.dial("/logs?level=silent&token=" + secret)
	l, ctx := s.fake.logger, t.Context()

	l.Debug("d")
	l.Log(ctx, stats.LevelFlow, "[TCP] a --> b match Match using DIRECT")
	l.Info("i")
	l.Warn("w")
	l.Error("e")

	for _, want := range []string{"info [TCP] a --> b match Match using DIRECT", "info i", "warning w", "error e"} {
		var m struct{ Type, Payload string }
		if err := json.Unmarshal([]byte(s.next(info)), &m); err != nil || m.Type+" "+m.Payload != want {
			t.Errorf("got %+v, %v, want %q", m, err, want)
		}
	}
	for _, want := range []string{"debug d", "info [TCP] a --> b match Match using DIRECT", "info i", "warn w", "error e"} {
		var m struct {
			Time, Level, Message string
			Fields               []any
		}
		err := json.Unmarshal([]byte(s.next(debug)), &m)
		if _, timeErr := time.Parse(time.TimeOnly, m.Time); err != nil || timeErr != nil || m.Level+" "+m.Message != want || m.Fields == nil {
			t.Errorf("got %+v, %v, want %q", m, err, want)
		}
	}
}

// eventually polls until ok holds.
func (s *server) eventually(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(waitLimit)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			s.t.Fatalf("no %s within %v", what, waitLimit)
		}
	}
}

func TestConnectionsStreamAtOnceAndThenByInterval(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	f := openFlow(s.fake.stats, "a.test", 1, 2)
	c := s.dial("/connections?interval=0&token=" + secret) // clamped to 100 ms

	var seen struct{ Connections []struct{ Upload uint64 } }
	decode := func(text string) {
		if err := json.Unmarshal([]byte(text), &seen); err != nil {
			t.Fatal(err)
		}
	}
	decode(s.next(c))
	if len(seen.Connections) != 1 || seen.Connections[0].Upload != 1 {
		t.Errorf("got %+v in the first message, want the flow", seen)
	}
	f.Up.Store(500)
	start := time.Now()
	for seen.Connections[0].Upload != 500 {
		decode(s.next(c))
	}
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Errorf("the next message came after %v, want about 100 ms", d)
	}
}

func TestBadIntervalIsRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, interval := range []string{"abc", "1.5", "1e3", "99999999999", "0x10"} {
		_, resp, err := websocket.Dial(t.Context(), s.URL+"/connections?interval="+interval+"&token="+secret, &websocket.DialOptions{HTTPClient: s.Client()})

		if err == nil || resp == nil || resp.StatusCode != 400 {
			t.Errorf("interval %s: got %v, want 400", interval, err)
		}
	}
	s.do("GET", "/connections?interval=abc", "").want(t, "plain requests do not look at it", 200, "*")
}

func TestMalformedUpgradesAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	for _, c := range []struct {
		name, connection, version, key string
		status                         int
	}{
		{"no Connection", "keep-alive", "13", key, 400},
		{"no key", "Upgrade", "13", "", 400},
		{"short key", "Upgrade", "13", "AAAA", 400},
		{"key that is no base64", "Upgrade", "13", "%%%", 400},
		{"old version", "Upgrade", "8", key, 426},
		{"no version", "Upgrade", "", key, 426},
	} {
		got := s.do("GET", "/traffic", "", "Upgrade", "websocket", "Connection", c.connection, "Sec-WebSocket-Version", c.version, "Sec-WebSocket-Key", c.key)

		got.want(t, c.name, c.status, "*")
		if ct := got.header.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
			t.Errorf("%s: got Content-Type %q", c.name, ct)
		}
		if c.status == 426 && got.header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: the answer does not say version 13", c.name)
		}
	}
}

func TestForeignPageMayNotStream(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.CORS.AllowOrigins = []string{"https://board.example"} })
	for origin, ok := range map[string]bool{"https://board.example": true, "https://evil.example": false, s.URL: true, "": true, "null": false} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		c, resp, err := websocket.Dial(t.Context(), s.URL+"/traffic?token="+secret, &websocket.DialOptions{HTTPClient: s.Client(), HTTPHeader: h})
		if err == nil {
			c.CloseNow()
		}
		if (err == nil) != ok || !ok && resp.StatusCode != 403 {
			t.Errorf("origin %q: got %v, want accepted %v", origin, err, ok)
		}
	}
}

func TestPingAndCloseAreAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	c := s.dial("/logs?token=" + secret)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	read := c.CloseRead(ctx)
	if err := c.Write(ctx, websocket.MessageText, []byte("ignored")); err != nil {
		t.Fatal(err)
	}

	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
	<-read.Done()
}

func TestOversizeMessageEndsTheSocketOnly(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Limits.ReadMessages = 1000 })
	c := s.dial("/logs?token=" + secret)
	if err := c.Write(t.Context(), websocket.MessageText, make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}

	_, _, err := c.Read(t.Context())

	if websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("got %v, want a close for size", err)
	}
	s.do("GET", "/version", "").want(t, "afterwards", 200, "*")
}

func TestDeadClientIsDroppedAndDelaysNobody(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, f *fake) {
		c.Limits.WriteStream, c.Limits.Streams = 300*time.Millisecond, 3
		for i := range 3000 { // a snapshot is larger than the socket's buffers after a few
			openFlow(f.stats, fmt.Sprintf("host-%d.test", i), 1, 1)
		}
	})
	dead := s.rawUpgrade("/connections?interval=100&token=" + secret)
	defer dead.Close()
	live := s.dial("/connections?interval=100&token=" + secret)

	for range 10 {
		if got := s.next(live); !strings.HasSuffix(got, "}\n") {
			t.Fatalf("got a message that ends in %q", got[max(0, len(got)-20):])
		}
	}
	// The dead client's place is free again: three streams fit beside each other.
	s.eventually("free place", func() bool {
		for range 2 {
			c, _, err := websocket.Dial(t.Context(), s.URL+"/memory?token="+secret, &websocket.DialOptions{HTTPClient: s.Client()})
			if err != nil {
				return false
			}
			defer c.CloseNow()
		}
		return true
	})
}

// rawUpgrade opens a WebSocket and never reads from it.
func (s *server) rawUpgrade(path string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	return c
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Limits.Streams = 1 })
	c := s.dial("/traffic?token=" + secret)

	s.do("GET", "/logs", "").want(t, "one too many", 503, message("too many streams"))
	c.CloseNow()
	s.eventually("free place", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/logs", nil)
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := s.Client().Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == 200
	})
}

func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	socket := s.dial("/connections?token=" + secret)
	s.next(socket)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/logs", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	for range 2 {
		if err := s.api.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}

	if _, _, err := socket.Read(t.Context()); err == nil {
		t.Error("the WebSocket lives on")
	}
	if _, err := io.ReadAll(resp.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("plain stream: %v", err)
	}
	s.do("GET", "/logs", "").want(t, "a stream after Close", 503, "*")
}

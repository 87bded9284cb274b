package mixed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/proxy"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
	"github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSampleHasEveryKey(t *testing.T) {
	t.Parallel()
	inboundtest.Sample(t, Descriptor())
}

func start(t *testing.T, h framework.Handler, change func(*Config)) string {
	t.Helper()
	c, host := Default(), inboundtest.NewHost()
	c.Listen = "127.0.0.1"
	if change != nil {
		change(&c)
	}
	in, err := New(context.Background(), host, c)
	if err != nil {
		t.Fatal(err)
	}
	return inboundtest.Run(t, in, host, h)
}

func TestFirstByteDecidesTheProtocol(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	defer server.Close()
	h := &inboundtest.Handler{}
	address := start(t, h, nil)
	socks, _ := proxy.SOCKS5("tcp", address, nil, nil)
	for _, tr := range []*http.Transport{
		{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: address}), DisableKeepAlives: true},
		{DialContext: socks.(proxy.ContextDialer).DialContext, DisableKeepAlives: true},
	} {
		r, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != "ok" {
			t.Errorf("got %q, %v", b, err)
		}
		r.Body.Close()
	}
	if f := h.Flows(); len(f) != 2 || f[0].Inbound.Type != "HTTP" || f[1].Inbound.Type != "Socks5" {
		t.Errorf("got flows %+v", f)
	}
}

func TestHandlerGetsTheRawConnection(t *testing.T) {
	t.Parallel()
	for _, hello := range []string{"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n", "\x04\x01\x00\x50\x7f\x00\x00\x01\x00"} {
		h := make(capture, 1)
		c, err := net.Dial("tcp", start(t, h, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, hello+"rest")
		select {
		case s := <-h:
			if _, ok := s.Conn.(*net.TCPConn); !ok || string(s.Head) != "rest" {
				t.Errorf("%q: got %T with %q, want a TCPConn with the rest", hello, s.Conn, s.Head)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%q: no flow", hello)
		}
	}
}

// capture is a Handler that passes streams on and ends them.
type capture chan framework.Stream

func (h capture) HandleStream(_ context.Context, s framework.Stream, _ *framework.Flow) {
	s.Conn.Close()
	h <- s
}

func (h capture) HandlePackets(_ context.Context, s framework.PacketServer, _ framework.Origin) {
	defer s.Close()
	for err := error(nil); err == nil; {
		_, err = s.ReadPacket(make([]byte, 1500), new(framework.PacketMeta))
	}
}

func TestUDPIsOnTheSameNumber(t *testing.T) {
	t.Parallel()
	address := start(t, &inboundtest.Handler{}, nil)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if relay, err := socks5.Associate(c, "", ""); err != nil || relay.String() != address {
		t.Errorf("got %v, %v, want %s", relay, err, address)
	}
}

func TestEveryPortOfARangeIsServed(t *testing.T) {
	t.Parallel()
	echo := inboundtest.Echo(t)
	var ports []string
	for range 2 { // two free ones, given up just before
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
		l.Close()
	}
	start(t, &inboundtest.Handler{}, func(c *Config) { c.Port, c.UDP = strings.Join(ports, "/"), false })
	for _, port := range ports {
		d, _ := proxy.SOCKS5("tcp", "127.0.0.1:"+port, nil, nil)
		c, err := d.Dial("tcp", echo.String())
		if err != nil {
			t.Fatalf("port %s: %v", port, err)
		}
		c.Close()
	}
}

// TestSlowHandshakeEndsInTenSeconds drips hellos, one byte a second, over pipes
// and under a clock of its own.
func TestSlowHandshakeEndsInTenSeconds(t *testing.T) {
	t.Parallel()
	for name, hello := range map[string]string{
		"silent":        "",
		"greeting":      "\x05\xff" + strings.Repeat("\x01", 255),
		"password":      "\x05\x01\x02\x01\xff" + strings.Repeat("u", 255),
		"version 4":     "\x04\x01\x00\x50\x00\x00\x00\x01" + strings.Repeat("u", 255),
		"http field":    "GET http://a.test/ HTTP/1.1\r\nX: " + strings.Repeat("x", 255),
		"request line":  strings.Repeat("G", 255),
		"empty line":    "\r\n" + strings.Repeat("G", 255),
		"tunnel target": "CONNECT " + strings.Repeat("a", 255),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { dripped(t, hello) })
		})
	}
}

func dripped(t *testing.T, hello string) {
	client, server := net.Pipe()
	host := &pipeHost{Host: inboundtest.NewHost(), conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	host.conn <- server
	c := Default()
	c.UDP = false
	in, err := New(context.Background(), host, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Start(context.Background(), &inboundtest.Handler{}); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	begin := time.Now()
	done := make(chan struct{})
	go func() { // ends when the pipe does
		defer close(done)
		for i := range hello {
			if _, err := io.WriteString(client, hello[i:i+1]); err != nil {
				return
			}
			time.Sleep(time.Second) // of the bubble's clock
		}
	}()

	_, err = io.Copy(io.Discard, client)

	if took := time.Since(begin); err != nil || took > 10*time.Second {
		t.Errorf("ended after %v with %v, want at most 10s", took, err)
	}
	client.Close()
	<-done
}

// pipeHost is a Host whose listener accepts one pipe.
type pipeHost struct {
	*inboundtest.Host
	conn   chan net.Conn
	closed chan struct{}
}

func (h *pipeHost) Listen(context.Context, string) (net.Listener, error) { return h, nil }

func (h *pipeHost) Accept() (net.Conn, error) {
	select {
	case c := <-h.conn:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *pipeHost) Close() error   { close(h.closed); return nil }
func (h *pipeHost) Addr() net.Addr { return &net.TCPAddr{} }

func TestIdleKeepAliveEndsInAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		host := &pipeHost{Host: inboundtest.NewHost(), conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		host.Access = inboundtest.Access{User: "me"}
		host.conn <- server
		c := Default()
		c.UDP = false
		in, _ := New(context.Background(), host, c)
		if err := in.Start(context.Background(), &inboundtest.Handler{}); err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		io.WriteString(client, "GET http://a.test/ HTTP/1.1\r\n\r\n")
		br := bufio.NewReader(client)
		r, err := http.ReadResponse(br, nil)
		if err != nil || r.StatusCode != 407 || r.Close {
			t.Fatalf("got %+v, %v", r, err)
		}
		io.Copy(io.Discard, r.Body)
		begin := time.Now()
		if _, err := br.ReadByte(); !errors.Is(err, io.EOF) || time.Since(begin) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		client.Close()
	})
}

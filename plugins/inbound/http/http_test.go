package http

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSampleHasEveryKey(t *testing.T) {
	t.Parallel()
	inboundtest.Sample(t, Descriptor())
}

func start(t *testing.T, host *inboundtest.Host, h framework.Handler, change func(*Config)) string {
	t.Helper()
	c := Default()
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

// client is net/http's, through the proxy at address.
func client(t *testing.T, address string) *http.Client {
	t.Helper()
	proxy, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ExpectContinueTimeout: 5 * time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func serve(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func read(t *testing.T, r *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func TestPlainRequestsOfOneClientShareAFlow(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %v", r.Method, r.Host, r.RequestURI, r.Header["Proxy-Connection"])
	})
	h := &inboundtest.Handler{}
	c := client(t, "http://"+start(t, inboundtest.NewHost(), h, nil))
	host := strings.TrimPrefix(server.URL, "http://")

	for range 3 {
		r, err := c.Get(server.URL + "/a?b=c")
		if got, want := read(t, r, err), "GET "+host+" /a?b=c []"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}

	if f := h.Flows(); len(f) != 1 || f[0].Inbound.Type != "HTTP" || f[0].Destination.String() != host {
		t.Errorf("got flows %+v, want one", f)
	}
}

func TestEachHostGetsAFlow(t *testing.T) {
	t.Parallel()
	name := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }
	one, two, h := serve(t, name), serve(t, name), &inboundtest.Handler{}
	c := client(t, "http://"+start(t, inboundtest.NewHost(), h, nil))
	for _, s := range []*httptest.Server{one, two, one} {
		r, err := c.Get(s.URL)
		if got := read(t, r, err); "http://"+got != s.URL {
			t.Errorf("got %s, want %s", got, s.URL)
		}
	}
	if n := len(h.Flows()); n != 3 {
		t.Errorf("got %d flows, want 3", n)
	}
}

func TestServerThatEndsBetweenRequestsIsDialledAgain(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	h := &inboundtest.Handler{}
	c := client(t, "http://"+start(t, inboundtest.NewHost(), h, nil))
	for range 3 {
		r, err := c.Get(server.URL)
		if got := read(t, r, err); got != "ok" || r.StatusCode != 200 {
			t.Errorf("got %d %q", r.StatusCode, got)
		}
		server.CloseClientConnections()
	}
}

func TestBodiesPassInEveryFraming(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Sum")
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		case "/none":
			w.WriteHeader(204)
			return
		}
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		w.Write(b[len(b)/2:])
		w.Header().Set("Sum", r.Trailer.Get("In"))
	})
	c := client(t, "http://"+start(t, inboundtest.NewHost(), &inboundtest.Handler{}, nil))
	payload := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for _, path := range []string{"/length", "/chunks", "/none"} {
		for _, method := range []string{"POST", "HEAD", "PUT"} {
			for name, body := range map[string]io.Reader{"length": bytes.NewReader(payload), "chunks": io.MultiReader(bytes.NewReader(payload)), "empty": nil} {
				req, _ := http.NewRequest(method, server.URL+path, body)
				if name == "chunks" {
					req.Trailer = http.Header{"In": {"trailer value"}}
				}
				r, err := c.Do(req)
				got, want := read(t, r, err), string(payload)
				if path == "/none" || method == "HEAD" || body == nil {
					want = ""
				}
				if got != want {
					t.Errorf("%s %s %s: got %d bytes, want %d", method, path, name, len(got), len(want))
				}
				if path == "/chunks" && method == "POST" && name == "chunks" && r.Trailer.Get("Sum") != "trailer value" {
					t.Errorf("got trailer %v", r.Trailer)
				}
			}
		}
	}
}

func TestExpectContinueAndOtherEarlyAnswersPass(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(103)
		if r.URL.Path == "/refuse" {
			w.WriteHeader(417)
			return
		}
		io.Copy(w, r.Body)
	})
	c := client(t, "http://"+start(t, inboundtest.NewHost(), &inboundtest.Handler{}, nil))
	for path, want := range map[string]string{"/accept": "payload", "/refuse": ""} {
		continued, hints := false, 0
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got100Continue: func() { continued = true },
			Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints += code; return nil },
		})
		req, _ := http.NewRequestWithContext(ctx, "POST", server.URL+path, strings.NewReader("payload"))
		req.Header.Set("Expect", "100-continue")
		r, err := c.Do(req)
		if got := read(t, r, err); got != want || continued != (want != "") || hints < 103 {
			t.Errorf("%s: got %q, continued %v, hints %d", path, got, continued, hints)
		}
	}
}

func TestAnswerStreams(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for s := range next {
			io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	})
	c := client(t, "http://"+start(t, inboundtest.NewHost(), &inboundtest.Handler{}, nil))
	go func() { next <- "first" }()
	r, err := c.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	got := make([]byte, 5)
	for _, want := range []string{"first", "again"} {
		if want == "again" {
			next <- want
		}
		if _, err := io.ReadFull(r.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	close(next)
}

func TestClientThatGoesAwayEndsTheFlow(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(ended)
	})
	h := &inboundtest.Handler{}
	conn := dial(t, start(t, inboundtest.NewHost(), h, nil))
	fmt.Fprintf(conn, "POST %s/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nonly", server.URL)
	conn.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("server still waits for the client")
	}
	h.Wait()
}

func TestUpgradeBecomesAStreamWithHalfClose(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with its one client
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil || req.Header.Get("Upgrade") != "echo" || req.Header.Get("Connection") != "Upgrade" {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-More: 1\r\n\r\nhi ")
		io.Copy(c, br)
	}()
	conn := dial(t, start(t, inboundtest.NewHost(), &inboundtest.Handler{}, nil))

	fmt.Fprintf(conn, "GET http://%s/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", l.Addr())
	br := bufio.NewReader(conn)
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != 101 || r.Header.Get("Upgrade") != "echo" || r.Header.Get("X-More") != "1" {
		t.Fatalf("got %+v, %v", r, err)
	}
	io.WriteString(conn, "there")
	conn.(*net.TCPConn).CloseWrite()

	got, err := io.ReadAll(br)
	if err != nil || string(got) != "hi there" {
		t.Errorf("got %q, %v, want hi there", got, err)
	}
}

func TestTunnelCarriesTLSAndBytesSentAhead(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") }))
	t.Cleanup(server.Close)
	h := &inboundtest.Handler{}
	address := start(t, inboundtest.NewHost(), h, nil)
	r, err := client(t, "http://"+address).Get(server.URL)
	if got := read(t, r, err); got != "secret" || h.Flows()[0].Inbound.Type != "HTTPS" {
		t.Errorf("got %q, flow %+v", got, h.Flows()[0])
	}

	echo, conn := inboundtest.Echo(t), dial(t, address)
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\nearly", echo, echo)
	want := "HTTP/1.1 200 Connection established\r\n\r\nearly"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestDialErrorBecomesStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err            error
		connect, plain string
	}{
		{framework.ErrTimeout, "504", "504"}, {framework.ErrRefused, "502", "502"}, {framework.ErrRejected, "200", "502"}, {errors.New("other"), "502", "502"},
	} {
		h := &inboundtest.Handler{Dial: func(framework.Addr) (net.Conn, error) { return nil, c.err }}
		address := start(t, inboundtest.NewHost(), h, nil)
		for request, want := range map[string]string{"CONNECT a.test:443 HTTP/1.1\r\n\r\n": c.connect, "GET http://a.test/ HTTP/1.0\r\n\r\n": c.plain} {
			conn := dial(t, address)
			io.WriteString(conn, request)
			got, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+want+" ") {
				t.Errorf("%v: %q got %q, %v, want %s and an end", c.err, request, got, err, want)
			}
		}
	}
}

package httpproxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a Guard that lets everything pass.
type open struct{ c net.Conn }

func (o open) Busy() bool                { return o.c.SetDeadline(time.Time{}) == nil }
func (o open) Wait(d time.Duration) bool { return o.c.SetDeadline(time.Now().Add(d)) == nil }

// talk sends request, ends its side, and returns all that comes back.
func talk(t testing.TB, h framework.Handler, request string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Name: "test-in", Handler: h, Admission: inboundtest.Access{}, HandshakeTime: 5 * time.Second}
	done := make(chan struct{})
	go func() { // ends with client
		defer close(done)
		server.SetDeadline(time.Now().Add(5 * time.Second))
		s.Serve(context.Background(), Accepted{Conn: server, Guard: open{server}})
	}()
	client.SetDeadline(time.Now().Add(5 * time.Second))
	go func() { // ends when all is sent or the other side has closed
		io.WriteString(client, request)
		client.(*net.TCPConn).CloseWrite()
	}()
	var got bytes.Buffer
	io.Copy(&got, client)
	client.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatalf("%.80q: still served", request)
	}
	return got.String()
}

func TestHostileRequestGetsAnAnswerOrAClose(t *testing.T) {
	t.Parallel()
	const start, end = "GET http://a.test/ HTTP/1.1\r\n", "\r\n\r\n"
	for request, want := range map[string]string{
		"":                                                              "",
		"\r":                                                            "",
		"GET":                                                           "",
		"\r\n\r\n\r\n":                                                  "400",
		"\x00\x00\x00\x00\r\n\r\n":                                      "400",
		"\x16\x03\x01\x02\x00\x01\r\n\r\n":                              "400",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                              "400",
		"GET / HTTP/1.1\r\nHost: a.test" + end:                          "400",
		"GET * HTTP/1.1" + end:                                          "400",
		"GET a.test:80 HTTP/1.1" + end:                                  "400",
		"GET https://a.test/ HTTP/1.1" + end:                            "400",
		"GET ftp://a.test/ HTTP/1.1" + end:                              "400",
		"GET http:///x HTTP/1.1" + end:                                  "400",
		"GET http://me:pw@a.test/ HTTP/1.1" + end:                       "400",
		"GET http://a.test:0/ HTTP/1.1" + end:                           "400",
		"GET http://a.test:99999/ HTTP/1.1" + end:                       "400",
		"GET http://a.test:+80/ HTTP/1.1" + end:                         "400",
		"GET http://a..test/ HTTP/1.1" + end:                            "400",
		"GET http://127.1/ HTTP/1.1" + end:                              "400",
		"GET http://0x7f000001/ HTTP/1.1" + end:                         "400",
		"GET http://[::1/ HTTP/1.1" + end:                               "400",
		"GET http://[a.test]/ HTTP/1.1" + end:                           "400",
		"GET http://a.test/#x HTTP/1.1" + end:                           "400",
		"GET http://a.test/\x01 HTTP/1.1" + end:                         "400",
		"GET http://a.test/\xff HTTP/1.1" + end:                         "400",
		"GET  http://a.test/ HTTP/1.1" + end:                            "400",
		"GET http://a.test/ x HTTP/1.1" + end:                           "400",
		"GET http://a.test/" + end:                                      "400",
		"GET http://a.test/ HTTP/1.2" + end:                             "400",
		"GET http://a.test/ http/1.1" + end:                             "400",
		"G\tT http://a.test/ HTTP/1.1" + end:                            "400",
		"G(T http://a.test/ HTTP/1.1" + end:                             "400",
		" GET http://a.test/ HTTP/1.1" + end:                            "400",
		"GET http://a.test/ HTTP/1.1\n\n":                               "400",
		start + "X: a\nY: b" + end:                                      "400",
		start + "X: a\rY: b" + end:                                      "400",
		start + "X: a\x00b" + end:                                       "400",
		start + "X : a" + end:                                           "400",
		start + " X: a" + end:                                           "400",
		start + "X: a\r\n folded" + end:                                 "400",
		start + "X: a\r\n\tfolded" + end:                                "400",
		start + ": a" + end:                                             "400",
		start + "no colon" + end:                                        "400",
		start + "X[]: a" + end:                                          "400",
		start + "Host: a.test\r\nHost: b.test" + end:                    "400",
		start + "Content-Length: 1\r\nContent-Length: 2" + end:          "400",
		start + "Content-Length: 1, 1" + end:                            "400",
		start + "Content-Length: +1" + end:                              "400",
		start + "Content-Length: -1" + end:                              "400",
		start + "Content-Length: 0x1" + end:                             "400",
		start + "Content-Length: " + end:                                "400",
		start + "Content-Length: 99999999999999999999" + end:            "400",
		start + "Content-Length: 3\r\nTransfer-Encoding: chunked" + end: "400",
		start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" + end: "400",
		start + "Transfer-Encoding: gzip, chunked" + end:                         "400",
		start + "Transfer-Encoding: xchunked" + end:                              "400",
		start + "Transfer-Encoding: \vchunked" + end:                             "400",
		start + "Transfer-Encoding: identity" + end:                              "400",
		"GET http://a.test/ HTTP/1.0\r\nTransfer-Encoding: chunked" + end:        "400",
		"CONNECT a.test HTTP/1.1" + end:                                          "400",
		"CONNECT a.test:http HTTP/1.1" + end:                                     "400",
		"CONNECT :443 HTTP/1.1" + end:                                            "400",
		"CONNECT a.test:443/ HTTP/1.1" + end:                                     "400",
		"CONNECT http://a.test/ HTTP/1.1" + end:                                  "400",
		"CONNECT ::1:443 HTTP/1.1" + end:                                         "400",
		"CONNECT a.test:443 HTTP/1.1\r\nContent-Length: 3" + end + "abc":         "400",
		"CONNECT a.test:443 HTTP/1.1\r\nTransfer-Encoding: chunked" + end:        "400",
		"GET http://a.test/" + strings.Repeat("a", maxHead) + " HTTP/1.1" + end:  "431",
		start + "X: " + strings.Repeat("a", maxHead) + end:                       "431",
		start + strings.Repeat("X: a\r\n", maxHead/6) + "\r\n":                   "431",
		start + strings.Repeat("X: a\r\n", maxFields+1) + "\r\n":                 "431",
		strings.Repeat("a", 2*maxHead):                                           "431",
	} {
		h := &inboundtest.Handler{Dial: func(framework.Addr) (net.Conn, error) { return nil, framework.ErrRefused }}
		got := talk(t, h, request)
		status := strings.TrimPrefix(got, "HTTP/1.1 ")
		if want == "" && got != "" || !strings.HasPrefix(status, want) {
			t.Errorf("%.90q: got %.40q, want %q", request, got, want)
		}
		if n := len(h.Flows()); n != 0 {
			t.Errorf("%.90q: got %d flows, want none", request, n)
		}
	}
}

// server answers each flow with what it says and keeps what it was sent.
func server(answer string) (h *inboundtest.Handler, asked func() string) {
	sent := make(chan string, 1)
	h = &inboundtest.Handler{Dial: func(framework.Addr) (net.Conn, error) {
		near, far := newPipe(nil, nil)
		go func() { // ends with the flow
			io.WriteString(far, answer)
			far.CloseWrite()
		}()
		go func() { // ends with the flow
			b, _ := io.ReadAll(far)
			sent <- string(b)
		}()
		return near, nil
	}}
	return h, func() string { return <-sent }
}

func TestHostileBodyNeverReachesTheServerWhole(t *testing.T) {
	t.Parallel()
	for _, chunks := range []string{
		"5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n",
		" 5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "\r\n\r\n", "5;\x00\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\nx", "10000000000000000\r\nx", "5\r\nhel",
		"0\r\nX : y\r\n\r\n", "0\r\nfoo\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n" + strings.Repeat("X: y\r\n", maxHead), "5;" + strings.Repeat("x", maxChunkLine) + "\r\nhello\r\n0\r\n\r\n",
	} {
		h, asked := server("")
		got := talk(t, h, "POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks)
		if sent := asked(); strings.HasSuffix(sent, "0\r\n\r\n") || strings.Count(sent, "HTTP/1.1") != 1 {
			t.Errorf("%.40q: server got %q", chunks, sent)
		}
		if got != "" && !strings.HasPrefix(got, "HTTP/1.1 502") {
			t.Errorf("%.40q: client got %q", chunks, got)
		}
	}
}

func TestHostileAnswerBecomesBadGatewayOrAClose(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"":                                      "502",
		"ICY 200 OK\r\n\r\n":                    "502",
		"HTTP/1.1 99 x\r\n\r\n":                 "502",
		"HTTP/1.1 2000 x\r\n\r\n":               "502",
		"HTTP/1.1 2x0 x\r\n\r\n":                "502",
		"HTTP/2.0 200 OK\r\n\r\n":               "502",
		"HTTP/1.1 101 No\r\n\r\n":               "502",
		"HTTP/1.1 100 Go\r\n\r\n":               "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 502",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n": "502",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab": "502",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":         "502",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", maxHead) + "\r\n\r\n":  "502",
		"HTTP/1.1 200 OK\r\nX: a":                                                                       "502",
		"HTTP/1.1 200 O\x00K\r\n\r\n":                                                                   "502",
		"HTTP/1.1 200 OK\nX: a\nBad Name: b\nContent-Length: 2\n\nokrest":                               "HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort":                                             "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":                                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\nab":                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nbody":                                              "HTTP/1.1 204 No\r\n\r\n",
		"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n":                                                  "HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n",
	} {
		h, asked := server(answer)
		got := talk(t, h, "GET http://a.test/ HTTP/1.1\r\n\r\n")
		if asked(); len(want) == 3 {
			want = "HTTP/1.1 " + want
		}
		full := !strings.HasSuffix(want, "502") // then the whole answer is known
		if !strings.HasPrefix(got, want) || full && got != want {
			t.Errorf("%.60q: got %q, want %q", answer, got, want)
		}
	}
}

func TestRequestIsRewrittenForTheServer(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]string{
		"GET http://A.test HTTP/1.1\r\nHost: other\r\nProxy-Connection: close\r\nX: 1\r\nx-CASE: 2\r\n\r\n":                               "GET / HTTP/1.1\r\nHost: A.test\r\nX: 1\r\nx-CASE: 2\r\n\r\n",
		"GET HTTP://a.test:8080?q HTTP/1.1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 1\r\n\r\n":              "GET /?q HTTP/1.1\r\nHost: a.test:8080\r\n\r\n",
		"OPTIONS http://[::1]:8 HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n":                                                         "OPTIONS * HTTP/1.1\r\nHost: [::1]:8\r\n\r\n",
		"POST http://a.test/ HTTP/1.0\r\nContent-Length: 2\r\nConnection: Content-Length, Host\r\n\r\nab":                                 "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab",
		"POST http://a.test/ HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n":                                                  "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
		"POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nTrailer: T\r\n\r\n2;x=y\r\nab\r\n00\r\nT: 1\r\nHost: evil\r\n\r\n": "POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: 1\r\n\r\n",
		"GET http://a.test/ HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n":                 "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
	} {
		h, asked := server("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		talk(t, h, request)
		if got := asked(); got != want {
			t.Errorf("%q:\n got %q\nwant %q", request, got, want)
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	h, asked := server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nAHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nB")
	got := talk(t, h, "GET http://a.test/1 HTTP/1.1\r\n\r\n")
	if sent := asked(); !strings.HasSuffix(got, "A") || strings.Count(sent, "GET") != 1 {
		t.Errorf("an answer that nobody asked for: client got %q, server %q", got, sent)
	}

	h = &inboundtest.Handler{Dial: func(framework.Addr) (net.Conn, error) {
		near, far := newPipe(nil, nil)
		go func() { // ends with the flow
			defer far.Close()
			r := reader{src: far, pools: new(pools)}
			for h := new(head); h.read(&r, true) == nil; {
				io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+string(h.first[5:6]))
			}
		}()
		return near, nil
	}}
	got = talk(t, h, "GET http://a.test/1 HTTP/1.1\r\n\r\nGET http://a.test/2 HTTP/1.1\r\n\r\nGET http://a.test/3 HTTP/1.1\r\nConnection: close\r\n\r\n")
	if bodies := strings.Split(got, "\r\n\r\n"); len(bodies) != 4 || bodies[1][0] != '1' || bodies[2][0] != '2' || bodies[3] != "3" || len(h.Flows()) != 1 {
		t.Errorf("got %q over %d flows", got, len(h.Flows()))
	}
}

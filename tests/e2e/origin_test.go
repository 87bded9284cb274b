package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// origin is the web server that flows lead to. Each test has one of its own,
// so that its port tells the test's flows from others.
type origin struct {
	server *httptest.Server
	host   string
	port   int
	sums   sync.Map // id of a download → SHA-256 of what was sent, in hex
}

// seen is what the origin saw of a request: the answer to /echo.
type seen struct {
	Method, Target, Host, Proto string
	Remote                      string // address without the port
	Chunked                     bool
	Header                      http.Header
	Body                        string
}

// newOrigin serves on a free port of host, an address of loopback.
func newOrigin(t testing.TB, host string) *origin {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{host: host, port: l.Addr().(*net.TCPAddr).Port}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/bytes", o.bytes)
	mux.HandleFunc("/sum", sum)
	mux.HandleFunc("/hold", hold)
	mux.HandleFunc("/ws", serveWebSocket)
	o.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	o.server.Start()
	t.Cleanup(func() {
		o.server.CloseClientConnections() // those who hold would keep Close waiting
		o.server.Close()
	})
	return o
}

// url is where a path of the origin is, for clients that call it host.
func (o *origin) url(host, path string) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(o.port)) + path
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	remote, _, _ := net.SplitHostPort(r.RemoteAddr)
	w.Header().Set("X-Origin", "echo")
	json.NewEncoder(w).Encode(seen{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto, Remote: remote,
		Chunked: len(r.TransferEncoding) > 0, Header: r.Header, Body: string(body),
	})
}

// bytes sends ?n= pseudo-random bytes and keeps their sum under ?id=.
func (o *origin) bytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
	if err != nil {
		http.Error(w, "n", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(noise(rand.Uint64()), n)); err == nil {
		o.sums.Store(r.FormValue("id"), hex.EncodeToString(h.Sum(nil)))
	}
}

// noise is an endless stream of pseudo-random bytes.
func noise(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
}

// sum answers with length and SHA-256 of what was uploaded.
func sum(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
}

// hold answers one line, who it is for, and keeps the answer open until the
// client goes away.
func hold(w http.ResponseWriter, r *http.Request) {
	remote, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(w, "held for %s\n", remote)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, data, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, []byte(strings.ToUpper(string(data)))) != nil {
			return
		}
	}
}

// listenTCP serves each connection with f on a free port of loopback until the
// test ends.
func listenTCP(t testing.TB, f func(*net.TCPConn)) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				f(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().(*net.TCPAddr)
}

// echoUDP answers each datagram with "<who sent it>|<what>" until the test
// ends.
func echoUDP(t testing.TB) *net.UDPAddr {
	return listenUDP(t, func(from net.Addr, b []byte) []byte { return append([]byte(from.String()+"|"), b...) })
}

// listenUDP answers each datagram with what f returns, if anything.
func listenUDP(t testing.TB, f func(from net.Addr, b []byte) []byte) *net.UDPAddr {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when pc is closed
		defer close(done)
		b := make([]byte, 65536)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := f(from, b[:n]); answer != nil {
				pc.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return pc.LocalAddr().(*net.UDPAddr)
}

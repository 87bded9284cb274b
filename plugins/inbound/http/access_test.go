package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestCredentialsDecide(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(r.Header["Proxy-Authorization"])) })
	host, h := inboundtest.NewHost(), &inboundtest.Handler{}
	host.Access = inboundtest.Access{User: "me", Password: "se:cret"}
	address := start(t, host, h, nil)
	for at, want := range map[string]int{"http://": 407, "http://me:wrong@": 403, "http://me:se%3Acret@": 200} {
		r, err := client(t, at+address).Get(server.URL)
		if body := read(t, r, err); r.StatusCode != want || want == 200 && body != "0" {
			t.Errorf("%s: got %d %q, want %d", at, r.StatusCode, body, want)
		}
		if want == 407 && !strings.HasPrefix(r.Header.Get("Proxy-Authenticate"), "Basic realm=") {
			t.Errorf("got header %v", r.Header)
		}
	}
	if f := h.Flows(); len(f) != 1 || f[0].Inbound.User != "me" {
		t.Errorf("got flows %+v", f)
	}
}

func TestConnectionSurvivesTheQuestionForCredentials(t *testing.T) {
	t.Parallel()
	echo, host := inboundtest.Echo(t), inboundtest.NewHost()
	host.Access = inboundtest.Access{User: "me", Password: "x"}
	conn := dial(t, start(t, host, &inboundtest.Handler{}, nil))
	br := bufio.NewReader(conn)
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\n\r\n", echo)
	r, err := http.ReadResponse(br, nil)
	if read(t, r, err); r.StatusCode != 407 {
		t.Fatalf("got %d, want 407", r.StatusCode)
	}
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nProxy-Authorization: bAsIc bWU6eA==\r\n\r\n", echo)
	if r, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"}); err != nil || r.StatusCode != 200 {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestTLSInFrontIsReadFromFiles(t *testing.T) {
	t.Parallel()
	host := inboundtest.NewHost()
	host.Home = t.TempDir()
	certificate, key := inboundtest.Certificate(t)
	for name, b := range map[string][]byte{"c.pem": certificate, "k.pem": key} {
		if err := os.WriteFile(filepath.Join(host.Home, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	address := start(t, host, &inboundtest.Handler{}, func(c *Config) { c.Certificate, c.PrivateKey = "c.pem", "k.pem" })
	for range 2 {
		r, err := client(t, "https://"+address).Get(server.URL)
		if got := read(t, r, err); got != "ok" {
			t.Errorf("got %q", got)
		}
	}
	c := Default()
	c.Listen, c.Certificate, c.PrivateKey = "127.0.0.1", "c.pem", "missing.pem"
	in, _ := New(context.Background(), host, c)
	defer in.Close()
	if err := in.Start(context.Background(), &inboundtest.Handler{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

func TestCloseLetsAnAnswerFinishAndEndsIdleConnections(t *testing.T) {
	t.Parallel()
	asked, proceed := make(chan struct{}), make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(asked)
			<-proceed
		}
		io.WriteString(w, "ok")
	})
	host := inboundtest.NewHost()
	c := Default()
	c.Listen = "127.0.0.1"
	in, _ := New(context.Background(), host, c)
	address := inboundtest.Run(t, in, host, &inboundtest.Handler{})
	idle, slow := dial(t, address), dial(t, address)
	fmt.Fprintf(idle, "GET %s/ HTTP/1.1\r\n\r\n", server.URL)
	idleAnswer, err := http.ReadResponse(bufio.NewReader(idle), nil)
	read(t, idleAnswer, err)
	fmt.Fprintf(slow, "GET %s/slow HTTP/1.1\r\n\r\n", server.URL)
	<-asked

	for range 2 {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}

	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("idle connection: got %q, %v, want an end", b, err)
	}
	close(proceed)
	slowAnswer, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if got := read(t, slowAnswer, err); got != "ok" {
		t.Errorf("got %q, want ok", got)
	}
	if b, err := io.ReadAll(slow); err != nil || len(b) > 0 {
		t.Errorf("answered connection: got %q, %v, want an end", b, err)
	}
}

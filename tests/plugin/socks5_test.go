package plugin

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestSameOutboundInTheTreeAndAsAProcess runs one list of tests over the
// outbound of the tree and the same code in a process: the configurations
// differ in one line.
func TestSameOutboundInTheTreeAndAsAProcess(t *testing.T) {
	t.Parallel()
	server := start(t, "mode: direct\n")
	for name, typ := range map[string]string{"in the tree": "socks5", "as a process": "socks5-process"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := start(t, fmt.Sprintf(`
plugins: [{path: plugins/socks5}]
proxies: [{name: out, type: %s, server: 127.0.0.1, port: %d, udp: true}]
rules: ['MATCH,out']
`, typ, server.port))
			t.Run("stream", func(t *testing.T) { streamPasses(t, k) })
			t.Run("half close", func(t *testing.T) { halfClosePasses(t, k) })
			t.Run("refused", func(t *testing.T) { refusalPasses(t, k) })
			t.Run("bulk", func(t *testing.T) { bulkPasses(t, k) })
			t.Run("packets", func(t *testing.T) { packetsPass(t, k) })
			t.Run("api", func(t *testing.T) { apiShows(t, k) })
		})
	}
}

func streamPasses(t *testing.T, k *kernel) {
	if err := flow(k.port, echo(t)); err != nil {
		t.Error(err)
	}
}

func halfClosePasses(t *testing.T, k *kernel) {
	c, err := connect(k.port, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "last words")
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

func refusalPasses(t *testing.T, k *kernel) {
	at := echo(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().(*net.TCPAddr).AddrPort()
	ln.Close()
	if err := flow(k.port, closed); err == nil {
		t.Error("a closed port answers")
	}
	if err := flow(k.port, at); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
}

func bulkPasses(t *testing.T, k *kernel) {
	c, err := connect(k.port, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want, got := sha256.New(), sha256.New()
	block := make([]byte, 1<<20)
	rand.Read(block)
	const blocks = 16
	go func() {
		for range blocks {
			c.Write(block)
		}
	}()
	for range blocks {
		want.Write(block)
	}
	if _, err := io.CopyN(got, c, blocks<<20); err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("16 MiB came back changed, or %v", err)
	}
}

func packetsPass(t *testing.T, k *kernel) {
	u := associate(t, k.port)
	b := make([]byte, 1<<16)
	for range 2 { // two destinations
		to := echo(t)
		for _, size := range []int{1, 1200, 8000} {
			want := datagram(to, bytes.Repeat([]byte{7}, size))
			u.Write(want)
			if n, err := u.Read(b); err != nil || !bytes.Equal(b[:n], want) {
				t.Errorf("%d bytes: got %d from % x, %v", size, n, b[:min(n, 10)], err)
			}
		}
	}
}

func apiShows(t *testing.T, k *kernel) {
	var p struct {
		Type string
		UDP  bool
	}
	k.Get(t, "/proxies/out", &p)
	if p.Type != "Socks5" || !p.UDP {
		t.Errorf("got %+v, want a Socks5 with UDP", p)
	}
	if s := k.plugin(t, "socks5"); s.State != "ready" || s.Types[0] != "outbound socks5-process" {
		t.Errorf("got %+v", s)
	}
	if _, body := k.Call(t, http.MethodGet, "/plugins/socks5-process/schema", nil); !strings.Contains(string(body), `"skip-cert-verify"`) {
		t.Errorf("schema: %s", body)
	}
	if _, body := k.Call(t, http.MethodGet, "/metrics", nil); !strings.Contains(string(body), `culvert_plugin_state{origin="socks5",state="ready"} 1`) {
		t.Errorf("the metric is missing:\n%s", body)
	}
}

func TestMistakesOfAProcessPointAtTheirLine(t *testing.T) {
	t.Parallel()
	k := start(t, "plugins: [{path: plugins/acme}]\n")
	k.write(t, `
plugins:
  - path: plugins/acme
proxies:
  - name: out
    type: acme
    server: a.example
    port: 99999
  - {name: two, type: acme, server: a.example, port: 1, key: "a b"}
`)
	status, body := k.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"path": k.File})
	for _, want := range []string{"config.yaml:11:11: proxies[0] \\\"out\\\" (acme): port: 99999 is more than 65535", "config.yaml:12:62: proxies[1] \\\"two\\\" (acme): key: holds a space"} {
		if status != http.StatusBadRequest || !strings.Contains(string(body), want) {
			t.Errorf("got %d %s, want %s", status, body, want)
		}
	}
}

func TestPluginsSectionPointsAtItsLine(t *testing.T) {
	t.Parallel()
	k := start(t, "mode: direct\n")
	k.write(t, `
plugins:
  - {path: ../../bin/sh}
  - {path: plugins/acme, sha256: "00"}
  - {path: plugins/nowhere, drian: 5m}
  - {path: plugins/faulty, drain: soon}
`)
	_, body := k.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"path": k.File})
	for _, want := range []string{"config.yaml:6:12: plugins[0].path: outside the home directory", "config.yaml:7:34: plugins[1].sha256: want 64 hex digits", "config.yaml:9:35: plugins[3].drain:"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("got %s, want %s", body, want)
		}
	}
}

// TestDocumentOverTheAPIStartsNothing: what a controller's client sends is no
// file on this machine.
func TestDocumentOverTheAPIStartsNothing(t *testing.T) {
	t.Parallel()
	k := start(t, "plugins: [{path: plugins/socks5}]\n")
	status, body := k.Call(t, http.MethodPut, "/configs", map[string]string{"payload": fmt.Sprintf("mixed-port: %d\nplugins: [{path: plugins/faulty}]\n", k.port)})
	if status != http.StatusNoContent {
		t.Fatalf("got %d %s", status, body)
	}
	if s := k.plugin(t, "faulty"); s.Name != "" {
		t.Errorf("it runs: %+v", s)
	}
	if s := k.plugin(t, "socks5"); s.State != "ready" {
		t.Errorf("the plugin of the file: %+v, want it as it was", s)
	}
}

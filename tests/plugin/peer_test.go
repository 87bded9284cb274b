package plugin

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestPeerWrittenByHandSpeaksVersion1 runs a plugin that shares no code with
// the kernel. Its unknown fields, capabilities and options are skipped.
func TestPeerWrittenByHandSpeaksVersion1(t *testing.T) {
	t.Parallel()
	k := start(t, `
plugins: [{path: plugins/peer}]
proxies: [{name: out, type: hand, word: right}]
rules: ['HAND,anything,REJECT', 'MATCH,out']
hosts: {hand.test: 127.0.0.1}
`)
	to := echo(t)
	if err := flow(k.port, to); err != nil {
		t.Errorf("stream: %v", err)
	}
	u := associate(t, k.port)
	want, b := datagram(to, []byte("packet")), make([]byte, 100)
	u.Write(want)
	if n, err := u.Read(b); err != nil || !bytes.Equal(b[:n], want) {
		t.Errorf("packet: got % x, %v", b[:n], err)
	}
	if err := flow(k.port, refused(t)); err == nil || !strings.Contains(err.Error(), "reply") {
		t.Errorf("a closed port: got %v, want the kernel's reply", err)
	}
	if s := k.plugin(t, "peer"); s.State != "ready" || len(s.Types) != 2 {
		t.Errorf("got %+v", s)
	}
	if !strings.Contains(k.Output(), "the peer is there") {
		t.Error("its log line is not in the log")
	}

	k.write(t, "plugins: [{path: plugins/peer}]\nproxies:\n  - {name: out, type: hand, word: wrong}\n")
	status, body := k.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"path": k.File})
	if status != http.StatusBadRequest || !strings.Contains(string(body), "config.yaml:6:35: ") {
		t.Errorf("got %d %s, want the line of the mistake", status, body)
	}
}

// TestPeerHasNoCodeOfOurs keeps the peer honest.
func TestPeerHasNoCodeOfOurs(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("testdata/peer/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(src, []byte("culvert-proxy/")) || bytes.Count(src, []byte("\n")) > 200 {
		t.Error("it imports code of ours, or has more than 200 lines")
	}
}

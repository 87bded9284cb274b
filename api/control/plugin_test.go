package control

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	intree "github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
)

// command runs `culvert plugin` and returns what it prints.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	catalog, err := registry.New(intree.All()...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Commands(catalog)["plugin"](args, &out)
	return out.String(), err
}

// build builds a command of this repository.
func build(t *testing.T, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// listening waits for a server and is false when done closes first.
func listening(at string, done <-chan struct{}) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			return true
		}
		select {
		case <-tick.C:
		case <-done:
			return false
		}
	}
}

// port is one of 127.0.0.1 that was free a moment ago.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// runs is `culvert plugin run` until the end of the test.
func runs(t *testing.T, what, sample string) (at string) {
	t.Helper()
	at = port(t)
	catalog, err := registry.New(intree.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan struct{})
	var failed error
	go func() { // ends with ctx
		defer close(done)
		failed = runPlugin(ctx, catalog, []string{what, sample, "-listen", at}, io.Discard, slog.DiscardHandler)
	}()
	t.Cleanup(func() { cancel(); <-done })
	if !listening(at, done) {
		t.Fatal(failed)
	}
	return at
}

// TestPluginProcess builds one for all.
func TestPluginProcess(t *testing.T) {
	bin := build(t, "github.com/culvert-proxy/culvert/plugins/testdata/socks5")
	t.Run("passes the kit over an outbound that is played", func(t *testing.T) { passes(t, bin) })
	t.Run("is played", func(t *testing.T) { isPlayed(t, bin) })
	t.Run("fails the check when it or the sample is wrong", func(t *testing.T) { failsCheck(t, bin) })
}

// passes runs an outbound of the tree on a proxy port, and checks the process
// with that as its server.
func passes(t *testing.T, bin string) {
	at := runs(t, "direct", file(t, "proxies: [{name: d, type: direct}]"))
	_, number, _ := net.SplitHostPort(at)
	sample := file(t, "proxies: [{name: s, type: socks5-process, server: 127.0.0.1, udp: true, port: "+number+"}]")

	out, err := command(t, "plugin-is-left-out")
	if err == nil || out != "" {
		t.Errorf("an unknown command: got %q, %v", out, err)
	}
	out, err = command(t, "check", bin, "-at", at, sample, "-datagram", "65497")
	if err != nil || !strings.Contains(out, " 0 failed") {
		t.Errorf("%v\n%s", err, out)
	}
	streams := file(t, "proxies: [{name: s, type: socks5-process, server: 127.0.0.1, port: "+number+"}]")
	if out, err := command(t, "check", bin, "-at", at, streams); err != nil {
		t.Errorf("without packets: %v\n%s", err, out)
	}
	for _, want := range []string{"stream/bytes arrive whole", "packet/boundaries", "faults/a server that resets", "process one process runs"} {
		if !strings.Contains(out, "ok    outbound socks5-process "+want) && !strings.Contains(out, "ok    "+want) {
			t.Errorf("not among the checks that passed: %s\n%s", want, out)
		}
	}
}

func isPlayed(t *testing.T, bin string) {
	server := runs(t, "direct", file(t, "proxies: [{name: d, type: direct}]"))
	_, number, _ := net.SplitHostPort(server)

	at := runs(t, bin, file(t, "proxies: [{name: s, type: socks5-process, server: 127.0.0.1, port: "+number+"}]"))

	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "CONNECT "+server+" HTTP/1.1\r\n\r\n")
	answer := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("got %q, %v", answer, err)
	}
}

func failsCheck(t *testing.T, bin string) {
	for name, c := range map[string]struct{ sample, want string }{
		"the sample has another type": {"proxies: [{name: a, type: trojan}]", "configures none of the plugin's types"},
		"the sample has a mistake":    {"proxies: [{name: a, type: socks5-process, port: 1, server: a, udp: 7}]", "does not keep the contract"},
		"the sample is no YAML":       {"a: [", "sample.yaml"},
	} {
		if out, err := command(t, "check", bin, file(t, c.sample)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q\n%s", name, err, c.want, out)
		}
	}
	if _, err := command(t, "check", file(t, "text"), file(t, "proxies: []")); err == nil {
		t.Error("a file that cannot be started: got no error")
	}
}

func TestNewPluginIsWrittenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	out, err := command(t, "new", "outbound", "acme", dir, "-module", "test.example/acme")
	if err != nil || !strings.Contains(out, filepath.Join(dir, "acme_test.go")) {
		t.Errorf("got %v, %s", err, out)
	}
	mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
	if !strings.HasPrefix(string(mod), "module test.example/acme\n") || strings.Contains(string(mod), "replace") {
		t.Errorf("got %s", mod)
	}
	if _, err := command(t, "new", "outbound", "acme", dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("again: got %v", err)
	}
	if _, err := command(t, "new", "outbound"); err == nil || !strings.HasPrefix(err.Error(), "usage:") {
		t.Errorf("without a name: got %v", err)
	}
}

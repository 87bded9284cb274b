package plugin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/require"
)

// nodePlugin installs the plugin written in JavaScript as its author says, in
// the home of k, and returns the line for `plugins:`.
func nodePlugin(t *testing.T, k *kernel) string {
	t.Helper()
	node, npm := require.Tool(t, "node"), require.Tool(t, "npm")
	dir := filepath.Join(k.Home, "plugins", "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{
		"../../plugins/testdata/node/plugin.js",
		"../../plugins/testdata/node/package.json",
		"../../plugins/testdata/node/package-lock.json",
		"../../framework/wire/proto/v1/plugin.proto",
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(from)), b, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("EUSAGE")) || bytes.Contains(out, []byte("EINTEGRITY")) {
		t.Fatalf("package-lock.json is not that of package.json: %s", out)
	}
	require.That(t, err == nil, fmt.Sprintf("the packages of npm (%v: %s)", err, out))
	return fmt.Sprintf("plugins: [{path: plugins/node/plugin.js, name: node, env: {PATH: '%s'}}]\n", filepath.Dir(node))
}

// apply puts a configuration in force and returns the kernel's answer.
func (k *kernel) apply(t *testing.T, config string) (int, string) {
	t.Helper()
	k.write(t, config)
	status, body := k.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"path": k.File})
	return status, string(body)
}

// relayServer is the other side of node-relay, for streams and packets at one
// port. It takes one greeting.
func relayServer(t *testing.T, greeting string) int {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().(*net.TCPAddr)
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close(); pc.Close() })
	go func() { // ends with ln
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			go relayStream(c, greeting)
		}
	}()
	go relayPackets(pc)
	return at.Port
}

func relayStream(c *net.TCPConn, greeting string) {
	defer c.Close()
	r := bufio.NewReader(c)
	line, _ := r.ReadString('\n')
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != greeting {
		io.WriteString(c, "NO who are you\n")
		return
	}
	out, err := net.Dial("tcp", net.JoinHostPort(words[1], words[2]))
	if err != nil {
		io.WriteString(c, "NO way\n")
		return
	}
	defer out.Close()
	io.WriteString(c, "OK\n")
	go func() { io.Copy(out, r); out.(*net.TCPConn).CloseWrite() }() // ends with both
	io.Copy(c, out)
}

// relayPackets sends each packet to its destination, an IPv4 address, and one
// answer back. It ends with pc.
func relayPackets(pc *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := pc.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if n < 7 || b[0] != 1 {
			continue
		}
		out, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: slices.Clone(b[1:5]), Port: int(b[5])<<8 | int(b[6])})
		if err != nil {
			continue
		}
		out.SetDeadline(time.Now().Add(5 * time.Second))
		out.Write(b[7:n])
		if n, err = out.Read(b[7:]); err == nil {
			pc.WriteToUDPAddrPort(b[:7+n], from)
		}
		out.Close()
	}
}

// reader takes a stream to its end, and only then sends it back.
func reader(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() { // ends with ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				c.Write(b)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// TestPluginInJavaScriptDoesAsOneInGo runs a plugin whose author had only the
// protocol's README and the gRPC library of another language.
func TestPluginInJavaScriptDoesAsOneInGo(t *testing.T) {
	t.Parallel()
	k := start(t, "mode: direct\n")
	line, port := nodePlugin(t, k), relayServer(t, "swordfish")
	config := line + fmt.Sprintf(`
proxies:
  - name: out
    type: node-relay
    server: 127.0.0.1
    port: %d
    greeting: swordfish
  - {name: stranger, type: node-relay, server: localhost, port: %d}
rules: ['DST-PORT,1,stranger', 'MATCH,out']
`, port, port)
	if status, body := k.apply(t, config); status != http.StatusNoContent {
		t.Fatalf("got %d %s", status, body)
	}

	s := k.plugin(t, "node")
	if s.State != "ready" || len(s.Types) != 1 || !strings.Contains(s.Types[0], "node-relay") || s.PID == 0 {
		t.Errorf("it is listed as %+v", s)
	}
	nodeCarries(t, k)
	for _, c := range []struct{ right, wrong, want string }{
		{"greeting: swordfish", "greeting: two words", `config.yaml:11:15: proxies[0] "out" (node-relay): greeting: must be one word`},
		{fmt.Sprintf("    port: %d", port), "    port: 70000", `config.yaml:10:11: proxies[0] "out" (node-relay): port: `},
	} {
		status, body := k.apply(t, strings.Replace(config, c.right, c.wrong, 1))
		if body = strings.ReplaceAll(body, `\"`, `"`); status != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s: got %d %s, want %s", c.wrong, status, body, c.want)
		}
	}
	next := nodeReplaced(t, k, s.PID)
	again := nodeKilled(t, k, next)

	k.Stop()
	eventually(t, 5*time.Second, func() error {
		if alive(next) || alive(again) {
			return fmt.Errorf("process %d or %d is there", next, again)
		}
		return nil
	})
}

// nodeCarries sends streams and a packet through the outbound.
func nodeCarries(t *testing.T, k *kernel) {
	t.Helper()
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	c, err := connect(k.port, reader(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { c.Write(sent); c.(*net.TCPConn).CloseWrite() }() // ends with c
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back after the half-close: %v", len(got), len(sent), err)
	}

	u := associate(t, k.port)
	want, b := datagram(echo(t), []byte("packet")), make([]byte, 100)
	u.Write(want)
	if n, err := u.Read(b); err != nil || !bytes.Equal(b[:n], want) {
		t.Errorf("packet: got % x, %v", b[:n], err)
	}

	if err := flow(k.port, netip.MustParseAddrPort("127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), "reply 5") {
		t.Errorf("a relay that says no: got %v, want refused", err)
	}
	eventually(t, 5*time.Second, func() error {
		if !containsAll(k.Output(), "the relay says who are you", "node is there") {
			return errors.New("what the relay says, or the plugin, is not in the log")
		}
		return nil
	})
	eventually(t, 5*time.Second, func() error {
		if _, body := k.Call(t, http.MethodGet, "/metrics", nil); !strings.Contains(string(body), "culvert_plugin_dials_total{") {
			return errors.New("its count is not among the metrics")
		}
		return nil
	})
}

// nodeReplaced puts another process in the place of pid, which ends when its
// last flow has, and returns it.
func nodeReplaced(t *testing.T, k *kernel, pid int) int {
	t.Helper()
	k.Call(t, http.MethodDelete, "/connections", nil) // a session of packets stays until it is idle
	c, err := connect(k.port, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if status, body := k.Call(t, http.MethodPut, "/plugins/node", nil); status/100 != 2 {
		t.Fatalf("got %d %s", status, body)
	}
	if err := echoed(c, "still here"); err != nil || !alive(pid) {
		t.Errorf("the open flow after the upgrade: %v", err)
	}
	c.Close()
	eventually(t, 10*time.Second, func() error {
		if alive(pid) {
			return fmt.Errorf("process %d is there without a flow", pid)
		}
		return nil
	})
	return k.plugin(t, "node").PID
}

// nodeKilled ends the process pid and returns the one in its place.
func nodeKilled(t *testing.T, k *kernel, pid int) int {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	to := echo(t)
	var s status
	eventually(t, 10*time.Second, func() error {
		if s = k.plugin(t, "node"); s.PID == pid || s.State != "ready" {
			return fmt.Errorf("after SIGKILL it is %+v", s)
		}
		return flow(k.port, to)
	})
	if s.Restarts != 1 {
		t.Errorf("%d restarts, want 1", s.Restarts)
	}
	return s.PID
}

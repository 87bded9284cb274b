package http

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
	"github.com/culvert-proxy/culvert/tests/require"
)

// checkTunnels goes through a proxy to an echo: openly, or with the password
// secret for alice, and with a wrong one and none.
func checkTunnels(t *testing.T, at framework.Addr, guarded bool) {
	t.Helper()
	echo := outboundtest.Serve(t, outboundtest.Echo)
	c, err := build(t, at, ", username: alice, password: secret").DialStream(outboundtest.Context(t), echo)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("got a %T, want a *net.TCPConn", c)
	}
	outboundtest.Talk(t, c)
	if !guarded {
		return
	}
	for _, keys := range []string{"", ", username: alice, password: guess"} {
		_, err := build(t, at, keys).DialStream(outboundtest.Context(t), echo)
		outboundtest.Is(t, err, framework.ErrAuth)
	}
}

func write(t *testing.T, name, format string, a ...any) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	// A program that root starts may read its files as somebody else.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, format, a...), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTinyproxy(t *testing.T) {
	t.Parallel()
	for story, auth := range map[string]string{"open": "", "guarded": "BasicAuth alice secret\n"} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			at := outboundtest.Program(t, "tinyproxy", func(port string) []string {
				return []string{"-d", "-c", write(t, "tinyproxy.conf", "Listen 127.0.0.1\nPort %s\nLogLevel Critical\n%s", port, auth)}
			})
			checkTunnels(t, at, auth != "")
		})
	}
}

const squidConfig = `
http_port 127.0.0.1:%s
pid_filename none
cache_log %s
access_log none
cache deny all
shutdown_lifetime 0 seconds
pinger_enable off
`

func TestSquid(t *testing.T) {
	t.Parallel()
	for story, guarded := range map[string]bool{"open": false, "guarded": true} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			access := "http_access allow all\n"
			if guarded {
				access = squidAuth(t)
			}
			at := outboundtest.Program(t, "squid", func(port string) []string {
				t.Cleanup(func() { // after squid has ended: it leaves its shared memory when it is killed
					left, _ := filepath.Glob("/dev/shm/t" + port + "-*")
					for _, path := range left {
						os.Remove(path)
					}
				})
				log := filepath.Join(t.TempDir(), "cache.log")
				return []string{"-N", "-n", "t" + port, "-f", write(t, "squid.conf", squidConfig+"%s", port, log, access)}
			})
			checkTunnels(t, at, guarded)
		})
	}
}

// squidAuth lets only alice in.
func squidAuth(t *testing.T) string {
	t.Helper()
	helper, err := exec.LookPath("/usr/lib/squid/basic_ncsa_auth")
	if err != nil {
		require.That(t, false, "squid's basic_ncsa_auth")
	}
	const hash = "$apr1$culvert1$rsmka.m9uF876afNoKPZY1" // of "secret", by openssl passwd -apr1
	return fmt.Sprintf("auth_param basic program %s %s\nacl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n",
		helper, write(t, "passwd", "alice:%s\n", hash))
}

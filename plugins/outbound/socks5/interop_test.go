package socks5

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestMicrosocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		story string
		args  []string
		keys  string
		class error
	}{
		{"open", nil, "", nil},
		{"right password", []string{"-u", "alice", "-P", "secret"}, ", username: alice, password: secret", nil},
		{"wrong password", []string{"-u", "alice", "-P", "secret"}, ", username: alice, password: guess", framework.ErrAuth},
		{"no password", []string{"-u", "alice", "-P", "secret"}, "", framework.ErrAuth},
	} {
		t.Run(c.story, func(t *testing.T) {
			t.Parallel()
			at := outboundtest.Program(t, "microsocks", func(port string) []string {
				return append([]string{"-i", "127.0.0.1", "-p", port}, c.args...)
			})
			checkStream(t, build(t, at, c.keys), c.class)
		})
	}
}

// checkStream goes through o to an echo, and to a port where nobody listens.
func checkStream(t *testing.T, o framework.Outbound, class error) {
	t.Helper()
	c, err := o.DialStream(outboundtest.Context(t), outboundtest.Serve(t, outboundtest.Echo))
	if class != nil {
		outboundtest.Is(t, err, class)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	outboundtest.Talk(t, c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
	l.Close()
	_, err = o.DialStream(outboundtest.Context(t), closed)
	outboundtest.Is(t, err, framework.ErrRefused)
}

const danteConfig = `
logoutput: stderr
internal: 127.0.0.1 port = %s
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
`

func dante(t *testing.T) framework.Addr {
	t.Helper()
	return outboundtest.Program(t, "danted", func(port string) []string {
		file := filepath.Join(t.TempDir(), "danted.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, danteConfig, port), 0o644); err != nil {
			t.Fatal(err)
		}
		return []string{"-f", file, "-p", filepath.Join(t.TempDir(), "pid")}
	})
}

func TestDanteStream(t *testing.T) {
	t.Parallel()
	checkStream(t, build(t, dante(t), ""), nil)
}

func TestDantePackets(t *testing.T) {
	t.Parallel()
	echo := relay(t)
	done := make(chan struct{})
	go func() { // ends when echo is closed
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			echo.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	t.Cleanup(func() { echo.Close(); <-done })
	to := framework.AddrFrom(echo.LocalAddr().(*net.UDPAddr).AddrPort())
	c := open(t, dante(t))

	got := make(chan string, 1)
	go func() { // ends with the session
		b := make([]byte, 64)
		n, from, _ := c.ReadPacket(b)
		got <- string(b[:n]) + " from " + from.String()
	}()
	tick := time.NewTicker(100 * time.Millisecond) // the first may come before the relay is ready
	defer tick.Stop()
	for {
		if _, err := c.WritePacket([]byte("hello"), to); err != nil {
			t.Fatal(err)
		}
		select {
		case answer := <-got:
			if want := "hello from " + netip.AddrPortFrom(to.IP, to.Port).String(); answer != want {
				t.Errorf("got %q, want %q", answer, want)
			}
			return
		case <-tick.C:
		}
	}
}

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// bulkBytes is how much goes each way.
func bulkBytes() int64 {
	if testing.Short() {
		return 64 << 20
	}
	return 1 << 30
}

// bulkTime bounds a transfer; a gibibyte takes some seconds on two busy cores.
const bulkTime = 3 * time.Minute

func TestBulkArrivesWhole(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	for _, c := range []struct {
		name  string
		bytes int64
		args  []string
	}{
		{"socks5", bulkBytes(), []string{"-x", at("socks5h", k.mixed)}},
		{"connect", bulkBytes() / 8, []string{"-p", "-x", at("http", k.http)}},
		{"forward", bulkBytes() / 8, []string{"-x", at("http", k.mixed)}},
	} {
		t.Run(c.name+" up", func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, "127.0.0.1")
			h := sha256.New()
			ctx, cancel := context.WithTimeout(context.Background(), bulkTime)
			defer cancel()

			cmd := curlCmd(t, ctx, append(c.args, "-T", "-", "-H", "Expect:", o.url("origin.test", "/sum"))...)
			cmd.Stdin = io.TeeReader(io.LimitReader(noise(1), c.bytes), h)
			out, err := cmd.Output()

			if want := fmt.Sprintf("%d %x", c.bytes, h.Sum(nil)); err != nil || string(out) != want {
				t.Errorf("origin got %q, %v, want %q", out, err, want)
			}
		})
		t.Run(c.name+" down", func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, "127.0.0.1")
			h := sha256.New()
			ctx, cancel := context.WithTimeout(context.Background(), bulkTime)
			defer cancel()

			cmd := curlCmd(t, ctx, append(c.args, o.url("origin.test", fmt.Sprintf("/bytes?id=x&n=%d", c.bytes)))...)
			cmd.Stdout, cmd.Stderr = h, os.Stderr
			err := cmd.Run()

			want, _ := o.sums.Load("x")
			if got := fmt.Sprintf("%x", h.Sum(nil)); err != nil || got != want {
				t.Errorf("client got %s, %v, want %s", got, err, want)
			}
		})
	}
}

// tunnel opens a TCP tunnel to host:port through a proxy of scheme socks5 or
// http.
func tunnel(t testing.TB, scheme string, proxy int, host string, port int) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxy))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(harness.Patience))
	request, answer := fmt.Sprintf("CONNECT %[1]s:%[2]d HTTP/1.1\r\nHost: %[1]s:%[2]d\r\n\r\n", host, port), ""
	if scheme == "socks5" {
		request = "\x05\x01\x00\x05\x01\x00\x03" + string(rune(len(host))) + host + string([]byte{byte(port >> 8), byte(port)})
		answer = "\x05\x00\x05\x00\x00"
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	got, b := "", make([]byte, 1)
	for !strings.HasSuffix(got, "\r\n\r\n") && (scheme != "socks5" || len(got) < 12) {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("answer %q, then %v", got, err)
		}
		got += string(b)
	}
	if !strings.HasPrefix(got, answer) || scheme == "http" && !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatalf("refused: %q", got)
	}
	return c.(*net.TCPConn)
}

func TestHalfClosedTunnelsGoOnTheOtherWay(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	const size = 1 << 20
	counts := listenTCP(t, func(c *net.TCPConn) { // answers only after the client's end
		n, _ := io.Copy(io.Discard, c)
		fmt.Fprintf(c, "%d", n)
	})
	heard := make(chan int64, 2)
	talks := listenTCP(t, func(c *net.TCPConn) { // ends first and then listens
		io.WriteString(c, "bye")
		c.CloseWrite()
		n, _ := io.Copy(io.Discard, c)
		heard <- n
	})

	for _, scheme := range []string{"socks5", "http"} {
		t.Run(scheme+" client first", func(t *testing.T) {
			c := tunnel(t, scheme, k.mixed, "origin.test", counts.Port)

			io.CopyN(c, noise(2), size)
			c.CloseWrite()
			got, err := io.ReadAll(c)

			if err != nil || string(got) != fmt.Sprint(size) {
				t.Errorf("got %q, %v, want %d", got, err, size)
			}
		})
		t.Run(scheme+" server first", func(t *testing.T) {
			c := tunnel(t, scheme, k.mixed, "origin.test", talks.Port)

			got, err := io.ReadAll(c)
			if err != nil || string(got) != "bye" {
				t.Fatalf("got %q, %v, want bye", got, err)
			}
			io.CopyN(c, noise(3), size)
			c.CloseWrite()

			select {
			case n := <-heard:
				if n != size {
					t.Errorf("server got %d bytes, want %d", n, size)
				}
			case <-time.After(harness.Patience):
				t.Error("the server hears no end")
			}
		})
	}
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// open is a kernel with each inbound once and no authentication.
type open struct {
	*harness.Culvert
	mixed, http, socks int
}

func startOpen(t testing.TB, more string) open {
	t.Helper()
	k := open{mixed: harness.Port(t), http: harness.Port(t), socks: harness.Port(t)}
	k.Culvert = harness.Start(t, fmt.Sprintf(`
mixed-port: %d
port: %d
socks-port: %d
external-controller: %%API%%
log-level: debug
hosts: {+.test: 127.0.0.1, four.test: 127.0.4.1, six.test: "::1"}
%s`, k.mixed, k.http, k.socks, more))
	return k
}

// at is a proxy URL on loopback.
func at(scheme string, port int) string { return fmt.Sprintf("%s://127.0.0.1:%d", scheme, port) }

func TestCurlComesThroughEachInbound(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")

	for _, c := range []struct {
		name  string
		args  []string
		host  string // as curl says it
		kind  string // of the flow, as the API calls it
		named string // host that the kernel sees
		in    string
	}{
		{"connect at mixed", []string{"-p", "-x", at("http", k.mixed)}, "origin.test", "HTTPS", "origin.test", "DEFAULT-MIXED"},
		{"connect at http", []string{"-p", "-x", at("http", k.http)}, "origin.test", "HTTPS", "origin.test", "DEFAULT-HTTP"},
		{"forward at mixed", []string{"-x", at("http", k.mixed)}, "origin.test", "HTTP", "origin.test", "DEFAULT-MIXED"},
		{"forward at http", []string{"-x", at("http", k.http)}, "127.0.0.1", "HTTP", "", "DEFAULT-HTTP"},
		{"socks4 at mixed", []string{"-x", at("socks4", k.mixed)}, "127.0.0.1", "Socks4", "", "DEFAULT-MIXED"},
		{"socks4 at socks", []string{"-x", at("socks4", k.socks)}, "127.0.0.1", "Socks4", "", "DEFAULT-SOCKS"},
		{"socks4a at mixed", []string{"-x", at("socks4a", k.mixed)}, "origin.test", "Socks4", "origin.test", "DEFAULT-MIXED"},
		{"socks4a at socks", []string{"-x", at("socks4a", k.socks)}, "Origin.Test", "Socks4", "origin.test", "DEFAULT-SOCKS"},
		{"socks5 at mixed", []string{"-x", at("socks5", k.mixed)}, "127.0.0.1", "Socks5", "", "DEFAULT-MIXED"},
		{"socks5 at socks", []string{"-x", at("socks5", k.socks)}, "127.0.0.1", "Socks5", "", "DEFAULT-SOCKS"},
		{"socks5h at mixed", []string{"-x", at("socks5h", k.mixed)}, "origin.test", "Socks5", "origin.test", "DEFAULT-MIXED"},
		{"socks5h at socks", []string{"-x", at("socks5h", k.socks)}, "ORIGIN.test", "Socks5", "origin.test", "DEFAULT-SOCKS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, "127.0.0.1")

			_, f := holding(t, k.Culvert, o, c.host, c.args...)
			s := fetch(t, o.url(c.host, "/echo?q=1"), c.args...)

			if s.Method != "GET" || s.Target != "/echo?q=1" || !strings.EqualFold(s.Host, fmt.Sprintf("%s:%d", c.host, o.port)) {
				t.Errorf("origin saw %+v", s)
			}
			m := f.Metadata
			if m.Type != c.kind || m.Host != c.named || m.InboundName != c.in || m.Network != "tcp" || m.SourceIP != "127.0.0.1" {
				t.Errorf("got flow %+v, want type %s host %q inbound %s", m, c.kind, c.named, c.in)
			}
			if fmt.Sprint(f.Chains) != "[DIRECT]" {
				t.Errorf("got chains %v, want [DIRECT]", f.Chains)
			}
		})
	}
}

func TestPlainForwardKeepsTheMeaningOfRequests(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	x := []string{"-x", at("http", k.http)}
	o := newOrigin(t, "127.0.0.1")
	target := o.url("origin.test", "/echo")
	long := strings.Repeat("0123456789abcdef", 1<<16)

	t.Run("post with length", func(t *testing.T) {
		t.Parallel()
		s := fetch(t, target, append(x, "-d", "a=1&b=2")...)
		if s.Method != "POST" || s.Body != "a=1&b=2" || s.Chunked {
			t.Errorf("origin saw %+v", s)
		}
	})
	t.Run("upload in chunks", func(t *testing.T) {
		t.Parallel()
		r := curlWith(t, strings.NewReader(long), append(x, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-T", "-", target)...)
		var s seen
		if err := json.Unmarshal([]byte(r.out), &s); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		if s.Method != "PUT" || s.Body != long || !s.Chunked {
			t.Errorf("origin saw %s with %d bytes, chunked %v", s.Method, len(s.Body), s.Chunked)
		}
	})
	t.Run("expect 100-continue", func(t *testing.T) {
		t.Parallel()
		r := curlWith(t, strings.NewReader(long), append(x, "-v", "-H", "Expect: 100-continue", "--expect100-timeout", "15",
			"--data-binary", "@-", target)...)
		if r.code != 0 || !strings.Contains(r.err, "100 Continue") || !strings.Contains(r.out, long) {
			t.Errorf("exit %d, %d bytes, no 100 in %s", r.code, len(r.out), r.err)
		}
	})
	t.Run("head", func(t *testing.T) {
		t.Parallel()
		r := curl(t, append(x, "-I", target)...)
		if r.code != 0 || !strings.Contains(r.out, " 200 ") || !strings.Contains(r.out, "X-Origin: echo") {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("http 1.0", func(t *testing.T) {
		t.Parallel()
		s := fetch(t, target, append(x, "-0", "-d", "old")...)
		if s.Method != "POST" || s.Body != "old" {
			t.Errorf("origin saw %+v", s)
		}
	})
}

func TestPlainForwardServesAConnectionToItsEnd(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	x := []string{"-x", at("http", k.http)}
	o := newOrigin(t, "127.0.0.1")

	t.Run("hop-by-hop fields stay here", func(t *testing.T) {
		t.Parallel()
		s := fetch(t, o.url("origin.test", "/echo"), append(x, "-H", "Connection: x-mine", "-H", "X-Mine: 1", "-H", "X-Yours: 2", "-H", "Proxy-Authorization: Basic eDp5")...)
		if s.Header.Get("X-Mine") != "" || s.Header.Get("Proxy-Authorization") != "" || s.Header.Get("Proxy-Connection") != "" || s.Header.Get("X-Yours") != "2" {
			t.Errorf("origin saw %v", s.Header)
		}
	})
	t.Run("one connection for several hosts", func(t *testing.T) {
		t.Parallel()
		o2 := newOrigin(t, "127.0.0.1")
		one, two := o.url("origin.test", "/echo?1"), o2.url("other.test", "/echo?2")
		r := curl(t, append(x, "-w", "connects %{num_connects}\n", one, two, one, two)...)
		if r.code != 0 || strings.Count(r.out, "connects 1") != 1 || strings.Count(r.out, "connects 0") != 3 {
			t.Errorf("exit %d, want one connect and three requests on it: %s%s", r.code, r.out, r.err)
		}
		if strings.Count(r.out, `"Target":"/echo?1"`) != 2 || strings.Count(r.out, `"Target":"/echo?2"`) != 2 {
			t.Errorf("answers do not belong to their requests: %s", r.out)
		}
	})
	t.Run("upgrade to websocket", func(t *testing.T) {
		t.Parallel()
		speaksWebSocket(t, at("http", k.http), o.url("origin.test", "/ws"))
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		r := curl(t, append(x, "-o", os.DevNull, "-w", "%{http_code}", fmt.Sprintf("http://127.0.0.1:%d/", harness.Port(t)))...)
		if r.code != 0 || !strings.HasPrefix(r.out, "50") {
			t.Errorf("got %+v, want a 50x", r)
		}
	})
}

// speaksWebSocket exchanges one message through a plain HTTP proxy.
func speaksWebSocket(t *testing.T, proxy, target string) {
	t.Helper()
	via, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), DisableKeepAlives: true}}

	c, _, err := websocket.Dial(ctx, target, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, got, err := c.Read(ctx)

	if err != nil || string(got) != "HELLO" {
		t.Errorf("got %q, %v, want HELLO", got, err)
	}
}

func TestClientsReachIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	require.That(t, err == nil, "IPv6 on loopback")
	l.Close()
	port := harness.Port(t)
	k := startOpen(t, fmt.Sprintf("listeners: [{name: six, type: mixed, listen: '::1', port: %d}]", port))
	o := newOrigin(t, "::1")

	for _, c := range []struct{ name, proxy, host string }{
		{"literal through socks5", at("socks5", k.mixed), "::1"},
		{"literal through connect", at("http", k.mixed), "::1"},
		{"name through socks5", at("socks5h", k.socks), "six.test"},
		{"name through socks4a", at("socks4a", k.socks), "six.test"},
		{"listener on IPv6", fmt.Sprintf("socks5h://[::1]:%d", port), "six.test"},
		{"http listener on IPv6", fmt.Sprintf("http://[::1]:%d", port), "::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if s := fetch(t, o.url(c.host, "/echo"), "-g", "-x", c.proxy); s.Remote != "::1" {
				t.Errorf("origin saw %q, want ::1", s.Remote)
			}
		})
	}
}

func TestProxychainsComesThroughEachProtocol(t *testing.T) {
	t.Parallel()
	chains := require.Tool(t, "proxychains4")
	k := startOpen(t, "")

	for _, c := range []struct {
		proxy string
		port  int
		kind  string
	}{{"socks4", k.mixed, "Socks4"}, {"socks5", k.socks, "Socks5"}, {"http", k.http, "HTTPS"}} {
		t.Run(c.proxy, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, "127.0.0.1")
			conf := filepath.Join(t.TempDir(), "chains.conf")
			text := fmt.Sprintf("strict_chain\nproxy_dns\nquiet_mode\n[ProxyList]\n%s 127.0.0.1 %d\n", c.proxy, c.port)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}

			p := harness.Run(t, chains, "-q", "-f", conf, require.Tool(t, "curl"), "-q", "-sSN", "--noproxy", "*", o.url("origin.test", "/hold"))

			p.Until("no answer", func() error {
				if !strings.Contains(p.Output(), "held") {
					return fmt.Errorf("output %q", p.Output())
				}
				return nil
			})
			if f := flow(t, k.Culvert, o.port); f.Metadata.Type != c.kind {
				t.Errorf("got %s, want %s", f.Metadata.Type, c.kind)
			}
		})
	}
}

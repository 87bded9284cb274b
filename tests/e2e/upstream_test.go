package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// upstreams is a kernel with a listener for each of some outbounds.
type upstreams struct {
	*harness.Culvert
	at map[string]int // name of the outbound → port of its listener
}

// startUpstreams takes lines such as "{name: a, type: http, …}".
func startUpstreams(t testing.TB, proxies ...string) upstreams {
	t.Helper()
	u := upstreams{at: map[string]int{}}
	listeners := ""
	for _, p := range proxies {
		name, _, _ := strings.Cut(strings.TrimPrefix(p, "{name: "), ",")
		u.at[name] = harness.Port(t)
		listeners += fmt.Sprintf("  - {name: in-%[1]s, type: mixed, listen: 127.0.0.1, port: %[2]d, proxy: %[1]s}\n", name, u.at[name])
	}
	u.Culvert = harness.Start(t, fmt.Sprintf("external-controller: %%API%%\nlog-level: debug\nhosts: {origin.test: 127.0.0.1}\nproxies:\n  - %s\nlisteners:\n%s",
		strings.Join(proxies, "\n  - "), listeners))
	return u
}

// outbound is a proxy line for a peer.
func outbound(name, kind string, p peer, more string) string {
	return fmt.Sprintf("{name: %s, type: %s, server: 127.0.0.1, port: %d%s}", name, kind, p.port, more)
}

const (
	goodPassword = ", username: " + peerUser + ", password: " + peerPassword
	badPassword  = ", username: " + peerUser + ", password: wrong"
)

func TestFlowsLeaveThroughOtherPeoplesProxies(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		name, kind string
		start      func(testing.TB, string, bool) peer
	}{{"microsocks", "socks5", microsocks}, {"danted", "socks5", danted}, {"squid", "http", squid}, {"tinyproxy", "http", tinyproxy}} {
		for _, password := range []bool{false, true} {
			name, more := c.name, ""
			if password {
				name, more = c.name+" with password", goodPassword
			}
			from := fmt.Sprintf("127.0.1.%d", 10+2*i)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := c.start(t, from, password)
				lines := []string{outbound("good", c.kind, p, more)}
				if password {
					lines = append(lines, outbound("bad", c.kind, p, badPassword), outbound("none", c.kind, p, ""))
				}
				u := startUpstreams(t, lines...)

				carries(t, u, "good", p)
				for _, name := range []string{"bad", "none"} {
					if u.at[name] != 0 {
						failsCleanly(t, u, name)
					}
				}
			})
		}
	}
}

// carries checks requests of all shapes through an outbound.
func carries(t *testing.T, u upstreams, name string, p peer) {
	t.Helper()
	o := newOrigin(t, "127.0.0.1")
	for _, x := range [][]string{
		{"-x", at("http", u.at[name])},
		{"-p", "-x", at("http", u.at[name])},
		{"-x", at("socks5", u.at[name])},
	} {
		if s := fetch(t, o.url("127.0.0.1", "/echo"), x...); s.Remote != p.from {
			t.Errorf("%q: origin saw %s, want %s", x, s.Remote, p.from)
		}
	}

	x := []string{"-x", at("socks5h", u.at[name])}
	const size = 8 << 20
	r := curl(t, append(x, "-o", os.DevNull, "-w", "%{size_download}", o.url("127.0.0.1", fmt.Sprintf("/bytes?n=%d", size)))...)
	if r.code != 0 || r.out != fmt.Sprint(size) {
		t.Errorf("download: %+v, want %d bytes", r, size)
	}
	h, body := sha256.New(), strings.Repeat("upload ", size/7)
	h.Write([]byte(body))
	r = curlWith(t, strings.NewReader(body), append(x, "-T", "-", "-H", "Expect:", o.url("127.0.0.1", "/sum"))...)
	if want := fmt.Sprintf("%d %x", len(body), h.Sum(nil)); r.out != want {
		t.Errorf("upload: %+v, want %s", r, want)
	}

	o2 := newOrigin(t, "127.0.0.1")
	_, f := holding(t, u.Culvert, o2, "127.0.0.1", x...)
	if fmt.Sprint(f.Chains) != "["+name+"]" || f.Rule != "" || f.Metadata.InboundName != "in-"+name || f.Metadata.RemoteDestination != "127.0.0.1" {
		t.Errorf("got flow %+v, want chain [%s]", f, name)
	}
}

// failsCleanly checks that each kind of client is told of a failure.
func failsCleanly(t *testing.T, u upstreams, name string) {
	t.Helper()
	o := newOrigin(t, "127.0.0.1")
	target, port := o.url("127.0.0.1", "/echo"), u.at[name]
	if r := curl(t, "-x", at("socks5", port), target); r.code != curlProxy {
		t.Errorf("%s: socks5: got %+v, want exit %d", name, r, curlProxy)
	}
	if r := curl(t, "-x", at("socks4", port), target); r.code != curlProxy {
		t.Errorf("%s: socks4: got %+v, want exit %d", name, r, curlProxy)
	}
	if r := curl(t, "-p", "-x", at("http", port), "-w", "%{http_connect}", target); r.code != curlReceive || !strings.HasPrefix(r.out, "50") {
		t.Errorf("%s: connect: got %+v, want a 50x and exit %d", name, r, curlReceive)
	}
	if r := curl(t, "-x", at("http", port), "-o", os.DevNull, "-w", "%{http_code}", target); r.code != 0 || !strings.HasPrefix(r.out, "50") {
		t.Errorf("%s: forward: got %+v, want a 50x", name, r)
	}
}

func TestDatagramsLeaveThroughDanted(t *testing.T) {
	t.Parallel()
	for _, password := range []bool{false, true} {
		t.Run(fmt.Sprintf("password %v", password), func(t *testing.T) {
			t.Parallel()
			p, more := danted(t, "127.0.1.30", password), ", udp: true"
			if password {
				more += goodPassword
			}
			u := startUpstreams(t, outbound("dante", "socks5", p, more))
			a := associate(t, u.at["dante"])

			for i := range 3 {
				server := echoUDP(t)
				_, answer := a.ask(t, "127.0.0.1", server.Port, fmt.Sprint("to ", i))
				if !strings.HasPrefix(answer, p.from+":") || !strings.HasSuffix(answer, fmt.Sprint("|to ", i)) {
					t.Errorf("got %q, want it to leave from %s", answer, p.from)
				}
			}
		})
	}
}

func TestUpstreamsThatAreGoneFailCleanly(t *testing.T) {
	t.Parallel()
	gone := peer{port: harness.Port(t)}
	u := startUpstreams(t, outbound("socks", "socks5", gone, ""), outbound("web", "http", gone, ""))

	failsCleanly(t, u, "socks")
	failsCleanly(t, u, "web")
}

func TestDialerProxyChainsUpstreams(t *testing.T) {
	t.Parallel()
	m, s := microsocks(t, "127.0.1.40", true), squid(t, "127.0.1.41", true)
	u := startUpstreams(t,
		outbound("micro", "socks5", m, goodPassword), outbound("squid", "http", s, goodPassword),
		outbound("socks-over-http", "socks5", m, goodPassword+", dialer-proxy: squid"),
		outbound("http-over-socks", "http", s, goodPassword+", dialer-proxy: micro"))
	o := newOrigin(t, "127.0.0.1")

	for name, exit := range map[string]string{"socks-over-http": m.from, "http-over-socks": s.from} {
		for _, scheme := range []string{"socks5", "http"} {
			if got := fetch(t, o.url("127.0.0.1", "/echo"), "-x", at(scheme, u.at[name])); got.Remote != exit {
				t.Errorf("%s: origin saw %s, want %s", name, got.Remote, exit)
			}
		}
	}

	// microsocks says whom it serves: squid came to it, and it went to squid.
	for _, line := range []string{": connected to 127.0.0.1:" + fmt.Sprint(o.port), ": connected to 127.0.0.1:" + fmt.Sprint(s.port), s.from + ":"} {
		if !strings.Contains(m.Output(), line) {
			t.Errorf("microsocks does not say %q: %s", line, m.Output())
		}
	}
}

func TestSelectGroupMovesNewFlows(t *testing.T) {
	t.Parallel()
	a, b := microsocks(t, "127.0.1.50", false), microsocks(t, "127.0.1.51", false)
	k := startOpen(t, fmt.Sprintf(`
proxies:
  - %s
  - %s
proxy-groups:
  - {name: "Inner / 日本", type: select, proxies: [a, b]}
  - {name: Outer, type: select, proxies: ["Inner / 日本", DIRECT]}
rules:
  - DOMAIN-SUFFIX,test,Outer
  - MATCH,DIRECT
`, outbound("a", "socks5", a, ""), outbound("b", "socks5", b, "")))
	o, before := newOrigin(t, "127.0.0.1"), newOrigin(t, "127.0.0.1")
	x := []string{"-x", at("socks5h", k.mixed)}
	_, old := holding(t, k.Culvert, before, "origin.test", x...)

	for _, c := range []struct{ group, member, from, chains string }{
		{"Inner / 日本", "b", b.from, "[b Inner / 日本 Outer]"},
		{"Outer", "DIRECT", "127.0.0.1", "[DIRECT Outer]"},
		{"Outer", "Inner / 日本", b.from, "[b Inner / 日本 Outer]"},
		{"Inner / 日本", "a", a.from, "[a Inner / 日本 Outer]"},
	} {
		status, body := k.Call(t, "PUT", "/proxies/"+url.PathEscape(c.group), map[string]string{"name": c.member})
		if status != http.StatusNoContent {
			t.Fatalf("select %s in %s: %d %s", c.member, c.group, status, body)
		}
		if s := fetch(t, o.url("origin.test", "/echo"), x...); s.Remote != c.from {
			t.Errorf("%s in %s: origin saw %s, want %s", c.member, c.group, s.Remote, c.from)
		}
		held := newOrigin(t, "127.0.0.1")
		_, f := holding(t, k.Culvert, held, "origin.test", x...)
		if fmt.Sprint(f.Chains) != c.chains || f.Rule != "DomainSuffix" || f.RulePayload != "test" {
			t.Errorf("got chains %v by %s(%s), want %s by DomainSuffix(test)", f.Chains, f.Rule, f.RulePayload, c.chains)
		}
	}
	if now := flow(t, k.Culvert, before.port); now.ID != old.ID || fmt.Sprint(now.Chains) != fmt.Sprint(old.Chains) {
		t.Errorf("the flow from before changed from %+v to %+v", old, now)
	}
}

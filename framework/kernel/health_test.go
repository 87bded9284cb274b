package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/store"
)

// testServer is the target of delay tests: it answers 204.
func testServer(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(s.Close)
	return s.URL
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// members are those of group g after a document with the given keys of it.
func members(t *testing.T, keys string) []string {
	t.Helper()
	h := newHouse(t, nil)
	h.apply(t, `
proxies:
  - {name: HK 2, type: probe}
  - {name: JP 1, type: socks5, server: 127.0.0.1, port: 1}
  - {name: HK 1, type: probe}
  - {name: 香港, type: probe}
  - {name: expires 2030, type: probe}
proxy-groups:
  - {name: first, type: select, proxies: [HK 1]}
  - {name: g, type: select, `+keys+`}
`)
	return h.Snapshot().Nodes["g"].Members.Names()
}

func TestMembersOfAGroup(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]string{
		"proxies: [JP 1, first, DIRECT, JP 1]":                                         "JP 1,first,DIRECT,JP 1",
		"include-all: true":                                                            "HK 1,HK 2,JP 1,expires 2030,香港",
		"include-all-proxies: true, proxies: [DIRECT, JP 1]":                           "DIRECT,JP 1,HK 1,HK 2,JP 1,expires 2030,香港",
		"include-all: true, filter: 'JP|HK'":                                           "HK 1,HK 2,JP 1",
		"include-all: true, filter: 'JP`HK`1$'":                                        "JP 1,HK 1,HK 2,HK 1,JP 1",
		"include-all: true, filter: '^(?!.*expires)\\w\\w'":                            "HK 1,HK 2,JP 1,香港",
		"include-all: true, proxies: [first], filter: nothing":                         "first",
		"include-all: true, filter: nothing":                                           "COMPATIBLE",
		"include-all: true, filter: nothing, empty-fallback: REJECT":                   "REJECT",
		"proxies: [JP 1, HK 1, DIRECT], filter: nothing":                               "JP 1,HK 1,DIRECT",
		"include-all: true, exclude-filter: '(?i)hk`exp'":                              "JP 1,香港",
		"proxies: [JP 1, HK 1], exclude-filter: JP":                                    "HK 1",
		"proxies: [JP 1, HK 1, DIRECT, first], exclude-type: 'direct|SOCKS5|Selector'": "HK 1",
		"proxies: [JP 1, DIRECT], exclude-type: nonsense":                              "JP 1,DIRECT",
		"proxies: [DIRECT], exclude-type: Direct, empty-fallback: HK 1":                "HK 1",
	} {
		t.Run(keys, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(members(t, keys), ","); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestMistakesOfAGroupAreNamedWithTheirLine(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]string{
		"proxies: [DIRECT], filter: '('":            "filter: bad regular expression \"(\"",
		"proxies: [DIRECT], exclude-filter: 'a`['":  "exclude-filter: bad regular expression \"[\"",
		"proxies: [DIRECT], expected-status: x":     "expected-status: \"x\" is no status",
		"proxies: [DIRECT], interval: 5m":           "interval:",
		"proxies: [DIRECT], strategy: any":          "strategy:",
		"use: [nobody]":                             "use[0]: proxy-provider \"nobody\" is not defined",
		"proxies: [DIRECT], empty-fallback: other":  "empty-fallback: \"other\" is a group",
		"proxies: [DIRECT], empty-fallback: nobody": "empty-fallback: proxy or group \"nobody\" is not defined",
		"proxies: [other, g]":                       "leads back to itself",
		"hidden: true":                              "has no members",
	} {
		t.Run(keys, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			doc := h.load(t, "proxy-groups:\n  - {name: other, type: select, proxies: [DIRECT]}\n  - {name: g, type: load-balance, "+keys+"}")
			errs := h.Check(doc).Errors()
			if len(errs) == 0 || !strings.Contains(errs[0].String(), want) || errs[0].Place.Line != 3 {
				t.Errorf("got %v, want %q in line 3", errs, want)
			}
		})
	}
}

func TestRelayGroupIsNotBuilt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	p := h.Check(h.load(t, "proxy-groups: [{name: g, type: relay, proxies: [DIRECT]}]"))
	if len(p.Errors()) > 0 || len(p.Warnings()) != 1 || !strings.Contains(p.Warnings()[0].String(), "dialer-proxy") {
		t.Errorf("got %v, want a warning that names dialer-proxy", p)
	}
}

// proxyTo is an HTTP proxy on a port of loopback.
func proxyTo(name string, port int) string {
	return fmt.Sprintf("{name: %s, type: http, server: 127.0.0.1, port: %d}", name, port)
}

// upstream is a kernel whose mixed port stands for a proxy server.
func upstream(t *testing.T) int {
	t.Helper()
	port := freePort(t)
	newHouse(t, nil).apply(t, fmt.Sprintf("mixed-port: %d", port))
	return port
}

func TestFallbackLeavesADeadServerAndComesBack(t *testing.T) {
	t.Parallel()
	url, dead, good := testServer(t), freePort(t), upstream(t)
	port := freePort(t)
	h := newHouse(t, nil)
	h.apply(t, fmt.Sprintf(`
mixed-port: %d
proxies: [%s, %s]
proxy-groups: [{name: g, type: fallback, proxies: [one, two], url: %q, interval: 1, timeout: 1000, lazy: false}]
rules: ['MATCH,g']`, port, proxyTo("one", dead), proxyTo("two", good), url))
	now := func() string { return h.Snapshot().Now("g") }

	eventually(t, "the first round", func() bool { return now() == "two" })
	tunnel(t, port, echo(t))

	newHouse(t, nil).apply(t, fmt.Sprintf("mixed-port: %d", dead)) // it comes up
	eventually(t, "a later round", func() bool { return now() == "one" })
	tunnel(t, port, echo(t))
}

func TestFlowIsCarriedThoughItsFirstMemberIsDown(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"url-test", "fallback", "load-balance, strategy: round-robin"} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			url, port, server := testServer(t), freePort(t), echo(t)
			h := newHouse(t, nil)
			h.apply(t, fmt.Sprintf(`
mixed-port: %d
proxies: [%s, %s]
proxy-groups:
  - {name: inner, type: %s, proxies: [down, up], url: %q}
  - {name: g, type: select, proxies: [inner]}
rules: ['MATCH,g']`, port, proxyTo("down", freePort(t)), proxyTo("up", upstream(t)), typ, url))

			for range 5 {
				tunnel(t, port, server)
			}

			st := h.State().Nodes["down"]
			eventually(t, "a test of the member that failed", func() bool { return !st.Health.Alive() })
		})
	}
}

func TestURLTestPicksTheFastest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := testServer(t)
	h.apply(t, fmt.Sprintf(`
proxies: [{name: slow, type: probe, tag: 30ms}, {name: fast, type: probe}]
proxy-groups: [{name: g, type: url-test, proxies: [REJECT, slow, fast], url: %q}]`, url))

	eventually(t, "the first round", func() bool { return h.Snapshot().Now("g") == "fast" })

	for name, alive := range map[string]bool{"slow": true, "fast": true, "REJECT": false} {
		got := h.State().Nodes[name].Health
		eventually(t, "a result of "+name, func() bool { return len(got.Tests()) > 0 })
		if got.Alive() != alive || got.Health(url).Alive != alive {
			t.Errorf("%s: alive %v, want %v", name, got.Alive(), alive)
		}
	}
	if g := h.State().Nodes["g"]; len(g.Health.Tests()) != 0 || g.TestURL != url {
		t.Errorf("the group: %d tests of its own, URL %q", len(g.Health.Tests()), g.TestURL)
	}
}

func TestResultsOutliveAReload(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	doc := "proxies: [{name: a, type: probe, tag: %s}, {name: b, type: probe}]\nproxy-groups: [{name: g, type: fallback, proxies: [a, b], url: '" + testServer(t) + "'}]"
	h.apply(t, fmt.Sprintf(doc, "1"))
	results := func(name string) int { return len(h.State().Nodes[name].Health.Tests()) }
	eventually(t, "the first round", func() bool { return results("a") == 1 && results("b") == 1 })

	h.apply(t, fmt.Sprintf(doc, "2"))

	if results("a") != 0 || results("b") != 1 {
		t.Errorf("%d results of the changed node and %d of the other, want 0 and 1", results("a"), results("b"))
	}
}

func TestTestOfOneAndOfAGroup(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	url := testServer(t)
	h.apply(t, "proxies: [{name: a, type: probe}]\nproxy-groups: [{name: g, type: select, proxies: [a, REJECT]}]")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	d, err := h.Test(ctx, "g", url, nil)
	if err != nil || d < time.Millisecond || len(h.State().Nodes["g"].Health.Tests()) != 1 || len(h.State().Nodes["a"].Health.Tests()) != 0 {
		t.Errorf("test of a group: %v, %v", d, err)
	}
	all, err := h.TestMembers(ctx, "g", url, patience, nil)
	if err != nil || len(all) != 1 || all["a"] < time.Millisecond {
		t.Errorf("test of the members: %v, %v", all, err)
	}
	if _, err := h.Test(ctx, "nobody", url, nil); !errors.Is(err, kernel.ErrNotFound) {
		t.Errorf("test of nobody: %v", err)
	}
	if _, err := h.TestMembers(ctx, "a", url, patience, nil); !errors.Is(err, kernel.ErrNotFound) {
		t.Errorf("test of the members of a proxy: %v", err)
	}
}

func TestPinIsKeptAcrossReloadAndRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(t *testing.T) (*house, func()) {
		s, _, err := store.Open(dir + "/store")
		if err != nil {
			t.Fatal(err)
		}
		return newHouse(t, func(c *kernel.Config) { c.Store = s }), func() { s.Close() }
	}
	doc := "proxies: [{name: a, type: probe}, {name: b, type: probe}, {name: c, type: probe}]\nprofile: {store-selected: true}\nproxy-groups: [{name: g, type: %s, proxies: [%s], url: '" + testServer(t) + "'}]"
	for _, typ := range []string{"url-test", "fallback"} {
		h, done := open(t)
		h.apply(t, fmt.Sprintf(doc, typ, "a, b"))
		if err := h.Select("g", "b"); err != nil {
			t.Fatal(err)
		}
		h.apply(t, fmt.Sprintf(doc, typ, "a, b, c"))
		if got := h.Snapshot().Now("g"); got != "b" {
			t.Errorf("%s: after a reload: %s, want b", typ, got)
		}
		done()

		h, done = open(t)
		h.apply(t, fmt.Sprintf(doc, typ, "a, b"))
		sel := h.Snapshot().Nodes["g"].Group.(framework.Selector)
		if got := h.Snapshot().Now("g"); got != "b" || sel.Selected() != "b" {
			t.Errorf("%s: after a restart: %s, pinned %q, want b", typ, got, sel.Selected())
		}
		if err := h.Unpin("g"); err != nil || sel.Selected() != "" || h.Store.Selected("g") != "" {
			t.Errorf("%s: unpin: %v, pinned %q, stored %q", typ, err, sel.Selected(), h.Store.Selected("g"))
		}
		done()
	}
}

func TestOnlyGroupsThatPickByThemselvesHaveAPin(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.apply(t, "proxy-groups: [{name: s, type: select, proxies: [DIRECT]}, {name: lb, type: load-balance, proxies: [DIRECT], url: '"+testServer(t)+"'}]")
	for name, want := range map[string]error{"s": kernel.ErrNotSelector, "lb": kernel.ErrNotSelector, "DIRECT": kernel.ErrNotSelector, "x": kernel.ErrNotFound} {
		if err := h.Unpin(name); !errors.Is(err, want) {
			t.Errorf("unpin %s: got %v, want %v", name, err, want)
		}
	}
	if err := h.Select("lb", "DIRECT"); !errors.Is(err, kernel.ErrNotSelector) {
		t.Errorf("select of a load-balance group: %v", err)
	}
}

func TestDeadMemberIsTestedBeforeItIsPinned(t *testing.T) {
	t.Parallel()
	url, dead := testServer(t), freePort(t)
	h := newHouse(t, nil)
	h.apply(t, fmt.Sprintf("proxies: [%s]\nproxy-groups: [{name: g, type: fallback, proxies: [DIRECT, one], url: %q}]", proxyTo("one", dead), url))
	one := h.State().Nodes["one"].Health
	eventually(t, "the first round", func() bool { return !one.Alive() })

	if err := h.Select("g", "one"); err != nil {
		t.Fatal(err)
	}
	if now := h.Snapshot().Now("g"); now != "DIRECT" {
		t.Errorf("a dead pin: got %s, want DIRECT", now)
	}
	newHouse(t, nil).apply(t, fmt.Sprintf("mixed-port: %d", dead)) // it comes up
	if err := h.Select("g", "one"); err != nil {
		t.Fatal(err)
	}
	if now := h.Snapshot().Now("g"); now != "one" {
		t.Errorf("a pin that came back: got %s, want one", now)
	}
}

func TestGroupBehindDialerProxyIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	port := freePort(t)
	h.apply(t, fmt.Sprintf(`
mixed-port: %d
proxies:
  - {name: outer, type: http, server: 127.0.0.1, port: %d, dialer-proxy: g}
  - {name: a, type: http, server: 127.0.0.1, port: %d}
proxy-groups: [{name: g, type: fallback, proxies: [a, DIRECT], url: %q}]
rules: ['MATCH,outer']`, port, upstream(t), freePort(t), testServer(t)))
	connect(t, port, echo(t)) // it may fail: a is down
	tunnel(t, port, echo(t))

	if n := kernel.Picks(h.Snapshot().Nodes["g"]); n < 2 {
		t.Errorf("%d picks, want 2 at least", n)
	}
}

func TestTestsOfARemovedGroupEnd(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a server that never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := newHouse(t, nil)
	h.apply(t, fmt.Sprintf("proxies: [{name: a, type: probe}]\nproxy-groups: [{name: g, type: url-test, proxies: [a], url: 'http://%s/', timeout: 100000}]", l.Addr()))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	h.apply(t, "proxies: [{name: a, type: probe}]")

	c.SetDeadline(time.Now().Add(patience))
	for b := make([]byte, 100); err == nil; {
		_, err = c.Read(b)
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("the test goes on")
	}
	if tests := h.State().Nodes["a"].Health.Tests(); len(tests) > 0 {
		t.Errorf("a test that was cut has a result: %v", tests)
	}
	if names := h.State().Names; slices.Contains(names, "g") {
		t.Errorf("names: %v", names)
	}
}

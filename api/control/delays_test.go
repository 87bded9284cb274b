package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/api/control"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
)

// patience bounds every wait.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// controller is a kernel with its API on loopback.
type controller struct {
	t    *testing.T
	base string
}

// serve puts a document in force and serves its API.
func serve(t *testing.T, text string) *controller {
	t.Helper()
	catalog, err := registry.New(plugins.All()...)
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	logs := stats.NewLogStream(slog.DiscardHandler, level)
	k := kernel.New(kernel.Config{Home: t.TempDir(), Catalog: catalog, Stats: stats.New(), Log: slog.New(logs), Level: level})
	doc, err := configs.Load(configs.Input{Home: k.Home, Name: "config.yaml", Bytes: []byte("external-controller: 127.0.0.1:0\n" + text)})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(t.Context(), doc, kernel.Options{}); err != nil {
		t.Fatal(err)
	}
	c := control.New(control.Config{Kernel: k, Logs: logs, Log: slog.New(logs)})
	c.Serve(t.Context(), doc)
	t.Cleanup(func() {
		c.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		k.Close(ctx)
		http.DefaultClient.CloseIdleConnections()
	})
	return &controller{t, "http://" + c.Addresses()[0].Addr.String()}
}

// do returns status and body of an answer.
func (c *controller) do(method, path, body string) (int, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// proxy is a proxy as the API shows it.
type proxy struct {
	Alive          bool
	Now, Fixed     string
	TestURL        string `json:"testUrl"`
	ExpectedStatus string `json:"expectedStatus"`
	History        []result
	Extra          map[string]struct {
		Alive   bool
		History []result
	}
}

type result struct {
	Time  time.Time
	Delay int
}

func (c *controller) proxy(name string) (p proxy) {
	c.t.Helper()
	_, body := c.do("GET", "/proxies/"+name, "")
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// target answers tests with a status.
func target(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(s.Close)
	return s.URL
}

// silent is a target that never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

func TestDelayOfAProxy(t *testing.T) {
	t.Parallel()
	good, slow := target(t, 404), silent(t)
	c := serve(t, "proxy-groups: [{name: g, type: select, proxies: [DIRECT]}]")
	for _, one := range []struct {
		name, query string
		status      int
		body        string
	}{
		{"DIRECT", "timeout=5000&url=" + url.QueryEscape(good), 200, `{"delay":`},
		{"DIRECT", "timeout=5000&expected=204&url=" + url.QueryEscape(good), 200, `{"delay":`},
		{"g", "timeout=5000&url=" + url.QueryEscape(good), 200, `{"delay":`},
		{"DIRECT", "timeout=50&url=" + url.QueryEscape(slow), 504, "Timeout"},
		{"DIRECT", "timeout=0&url=" + url.QueryEscape(good), 504, "Timeout"},
		{"REJECT", "timeout=5000&url=" + url.QueryEscape(good), 503, "An error occurred in the delay test"},
		{"DIRECT", "timeout=5000", 503, "An error occurred in the delay test"},
		{"DIRECT", "timeout=40000&url=" + url.QueryEscape(good), 400, "Body invalid"},
		{"DIRECT", "timeout=5000&expected=x&url=" + url.QueryEscape(good), 400, "Body invalid"},
		{"nobody", "timeout=5000&url=" + url.QueryEscape(good), 404, "Resource not found"},
	} {
		status, body := c.do("GET", "/proxies/"+one.name+"/delay?"+one.query, "")
		if status != one.status || !strings.Contains(body, one.body) {
			t.Errorf("%s?%s: got %d %s, want %d %s", one.name, one.query, status, body, one.status, one.body)
		}
	}

	p := c.proxy("DIRECT")
	if len(p.History) != 5 || p.Alive || len(p.Extra) != 3 || !p.Extra[""].History[0].Time.Equal(p.History[4].Time) {
		t.Errorf("got %+v", p)
	}
	if e := p.Extra[good]; e.Alive || len(e.History) != 3 || e.History[0].Delay == 0 || e.History[1].Delay != 0 || p.History[1].Delay == 0 {
		t.Errorf("with a status that was not expected: %+v", e)
	}
	if g := c.proxy("g"); len(g.History) != 1 || !g.Alive {
		t.Errorf("the group: %+v", g)
	}
}

func TestDelayOfAGroupClearsItsPin(t *testing.T) {
	t.Parallel()
	own, other := target(t, 204), target(t, 204)
	c := serve(t, fmt.Sprintf(`
proxies: [{name: a, type: direct}, {name: b, type: direct}]
proxy-groups:
  - {name: url-test, type: url-test, proxies: [a, b, REJECT], url: %q, expected-status: 204}
  - {name: fallback, type: fallback, proxies: [a, b, REJECT], url: %[1]q}
  - {name: dead, type: select, proxies: [REJECT]}`, own))
	for name, tested := range map[string]string{"url-test": own, "fallback": other} {
		if status, body := c.do("PUT", "/proxies/"+name, `{"name":"b"}`); status != 204 {
			t.Fatalf("%s: pin: %d %s", name, status, body)
		}
		if p := c.proxy(name); p.Fixed != "b" || p.Now != "b" || p.TestURL != own {
			t.Errorf("%s: pinned: %+v", name, p)
		}
		before := len(c.proxy("b").Extra[tested].History)

		status, body := c.do("GET", "/group/"+name+"/delay?timeout=5000&url="+url.QueryEscape(other), "")

		var delays map[string]int
		if err := json.Unmarshal([]byte(body), &delays); err != nil || status != 200 || len(delays) != 2 || delays["a"] < 1 || delays["b"] < 1 {
			t.Errorf("%s: got %d %s", name, status, body)
		}
		if p := c.proxy(name); p.Fixed != "" {
			t.Errorf("%s: still pinned to %s", name, p.Fixed)
		}
		if n := len(c.proxy("b").Extra[tested].History); n <= before {
			t.Errorf("%s: no test with %s", name, tested)
		}
	}
	if status, body := c.do("GET", "/group/dead/delay?timeout=5000&url="+url.QueryEscape(own), ""); status != 504 || !strings.Contains(body, "get delay: all proxies timeout") {
		t.Errorf("a group whose members fail: %d %s", status, body)
	}
	if p := c.proxy("url-test"); p.ExpectedStatus != "204" {
		t.Errorf("expected status: %q", p.ExpectedStatus)
	}
	for name, want := range map[string]int{"url-test": 204, "fallback": 204, "dead": 400, "a": 400, "nobody": 404} {
		if status, _ := c.do("DELETE", "/proxies/"+name, ""); status != want {
			t.Errorf("unpin %s: %d, want %d", name, status, want)
		}
	}
}

func TestCompatibleProvidersAreChecked(t *testing.T) {
	t.Parallel()
	own := target(t, 204)
	c := serve(t, fmt.Sprintf("proxies: [{name: a, type: direct}]\nproxy-groups: [{name: g, type: select, proxies: [a], url: %q}]", own))

	for path, want := range map[string]int{"g/healthcheck": 204, "default/healthcheck": 204, "nobody/healthcheck": 404, "g/nobody/healthcheck": 404} {
		if status, body := c.do("GET", "/providers/proxies/"+path, ""); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	if status, body := c.do("GET", "/providers/proxies/g/a/healthcheck?timeout=5000&url="+url.QueryEscape(own), ""); status != 200 || !strings.HasPrefix(body, `{"delay":`) {
		t.Errorf("one node: %d %s", status, body)
	}

	if h := c.proxy("a").Extra[own].History; len(h) != 2 {
		t.Errorf("%d tests, want 2", len(h))
	}
}

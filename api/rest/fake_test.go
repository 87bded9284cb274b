package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "s3cret"

// waitLimit bounds every wait of these tests.
const waitLimit = 10 * time.Second

// fake is a kernel that remembers what it was asked.
type fake struct {
	mu       sync.Mutex // guards all below
	settings rest.Settings
	patches  []rest.Patch
	reloads  []rest.ReloadRequest
	proxies  map[string]rest.Proxy
	selected map[string]string
	unfixed  []string
	disabled map[int]bool
	stored   map[string][]byte
	fail     error // what the next calls return

	stats  *stats.Stats
	logs   *stats.LogStream
	logger *slog.Logger
	delay  func(ctx context.Context, name, url string) (uint16, error)
}

func newFake() *fake {
	level := new(slog.LevelVar)
	level.Set(stats.LevelSilent)
	f := &fake{
		settings: rest.Settings{Mode: "rule", LogLevel: "info", LANAllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		proxies:  map[string]rest.Proxy{}, selected: map[string]string{}, stored: map[string][]byte{}, disabled: map[int]bool{},
		stats: stats.New(), logs: stats.NewLogStream(slog.DiscardHandler, level),
	}
	f.logger = slog.New(f.logs)
	f.add("DIRECT", "Direct")
	f.add("node", "Socks5")
	f.addGroup("Proxy", "Selector", "node", "DIRECT")
	f.addGroup("auto", "URLTest", "node", "DIRECT")
	f.addGroup("lb", "LoadBalance", "node")
	f.addGroup("GLOBAL", "Selector", "DIRECT", "node", "Proxy", "auto", "lb")
	return f
}

func (f *fake) add(name, typ string) {
	f.proxies[name] = rest.Proxy{Name: name, Type: typ, Alive: true, ID: "00000000-0000-4000-8000-000000000001"}
}

func (f *fake) addGroup(name, typ string, members ...string) {
	f.proxies[name] = rest.Proxy{Name: name, Type: typ, Alive: true, Group: &rest.Group{All: members, Now: members[0], TestURL: "http://t.test/"}}
}

func (f *fake) Settings() rest.Settings { f.mu.Lock(); defer f.mu.Unlock(); return f.settings }

func (f *fake) Patch(_ context.Context, p rest.Patch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.patches = append(f.patches, p)
	if p.Mode != nil {
		f.settings.Mode = *p.Mode
	}
	return f.fail
}

func (f *fake) Reload(_ context.Context, r rest.ReloadRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reloads = append(f.reloads, r)
	return f.fail
}

func (f *fake) Proxies() (ps []rest.Proxy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range maps.Values(f.proxies) {
		if p.ProviderName == "" {
			ps = append(ps, p)
		}
	}
	return ps
}

func (f *fake) Proxy(name string) (rest.Proxy, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.proxies[name]
	return p, ok
}

func (f *fake) Select(_ context.Context, group, member string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.proxies[group]
	if p.Type == "LoadBalance" {
		return rest.ErrNotSelector
	}
	for _, name := range p.Group.All {
		if name == member {
			f.selected[group] = member
			return f.fail
		}
	}
	return framework.ErrNotMember
}

func (f *fake) Unfix(group string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unfixed = append(f.unfixed, group)
	return f.fail
}

func (f *fake) Rules() []rest.Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []rest.Rule{
		{Type: "DomainSuffix", Payload: "example.test", Target: "Proxy", Size: -1, Hits: 3, HitAt: time.Unix(1, 5).UTC(), Disabled: f.disabled[0]},
		{Type: "Match", Target: "DIRECT", Size: -1, Disabled: f.disabled[1]},
	}
}

func (f *fake) DisableRules(m map[int]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.disabled, m)
}

func (f *fake) ProxyDelay(ctx context.Context, name, url string, _ rest.StatusRanges) (uint16, error) {
	return f.delay(ctx, name, url)
}

func (f *fake) GroupDelay(ctx context.Context, name, url string, _ rest.StatusRanges) (map[string]uint16, error) {
	ms, err := f.delay(ctx, name, url)
	return map[string]uint16{"node": ms}, err
}

func (f *fake) Get(key string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored[key], f.fail
}

func (f *fake) Put(key string, v []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored[key] = v
	return f.fail
}

func (f *fake) Delete(key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.stored, key)
	return f.fail
}

// setFail makes the next calls fail.
func (f *fake) setFail(err error) { f.mu.Lock(); defer f.mu.Unlock(); f.fail = err }

// server is an API on a loopback port.
type server struct {
	*httptest.Server
	t    *testing.T
	fake *fake
	api  *rest.API
}

// serve starts an API over a fake kernel; change may alter both before.
func serve(t *testing.T, change func(*rest.Config, *rest.Kernel, *fake)) *server {
	t.Helper()
	f := newFake()
	k := rest.Kernel{Stats: f.stats, Logs: f.logs, Configs: f, Applier: f, Proxies: f, Selector: f, Rules: f, Delays: f, Storage: f}
	cfg := rest.Config{Version: "v1.0.0", Secret: secret, Home: "/home/kernel"}
	if change != nil {
		change(&cfg, &k, f)
	}
	a, err := rest.New(cfg, k, f.logger)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{httptest.NewServer(a.Handler()), t, f, a}
	t.Cleanup(func() {
		a.Close()
		s.Close()
	})
	return s
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with the secret. headers are name, value pairs.
func (s *server) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	return s.send(method, path, strings.NewReader(body), append([]string{"Authorization", "Bearer " + secret}, headers...)...)
}

// send sends a request without the secret.
func (s *server) send(method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: s.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: read: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// want checks the status and, unless body is "*", the body.
func (a answer) want(t *testing.T, what string, status int, body string) {
	t.Helper()
	if a.status != status || body != "*" && a.body != body {
		t.Errorf("%s: got %d %q, want %d %q", what, a.status, clip(a.body), status, body)
	}
}

func clip(s string) string { return s[:min(len(s), 300)] }

// message is the JSON of an error answer.
func message(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	_ = e.Encode(map[string]string{"message": text})
	return b.String()
}

var errBoom = errors.New("boom")

// openFlow enters a flow into the statistics.
func openFlow(s *stats.Stats, host string, up, down uint64) *stats.Flow {
	f := &stats.Flow{
		Flow: framework.Flow{
			Network: framework.TCP, Source: netip.MustParseAddrPort("127.0.0.1:50000"),
			Destination: framework.Addr{Host: host, Port: 443},
			Inbound:     framework.Origin{Name: "DEFAULT-MIXED", Type: "HTTPS", Local: netip.MustParseAddrPort("127.0.0.1:7890")},
		},
		Info:  stats.Info{Chain: []string{"node", "Proxy"}, Rule: "DomainSuffix", Payload: "example.test", RemoteIP: netip.MustParseAddr("192.0.2.1")},
		Start: time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	s.Open(f, nil)
	f.Up.Store(up)
	f.Down.Store(down)
	return f
}

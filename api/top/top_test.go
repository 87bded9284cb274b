package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// kernel is a kernel with one rule.
type kernel struct{}

func (kernel) Settings() rest.Settings                          { return rest.Settings{} }
func (kernel) Patch(context.Context, rest.Patch) error          { return nil }
func (kernel) Reload(context.Context, rest.ReloadRequest) error { return nil }
func (kernel) Proxies() []rest.Proxy                            { return nil }
func (kernel) Proxy(string) (rest.Proxy, bool)                  { return rest.Proxy{}, false }
func (kernel) Select(context.Context, string, string) error     { return nil }
func (kernel) Unfix(string) error                               { return nil }
func (kernel) DisableRules(map[int]bool)                        {}
func (kernel) Rules() []rest.Rule {
	return []rest.Rule{{Type: "DomainSuffix", Payload: "example.test", Target: "Proxy", Hits: 42}, {Type: "Match", Target: "DIRECT"}}
}

// controller serves the API over s.
func controller(t *testing.T, s *stats.Stats) *httptest.Server {
	t.Helper()
	var k kernel
	logs := stats.NewLogStream(slog.DiscardHandler, new(slog.LevelVar))
	a, err := rest.New(rest.Config{Version: "v9", Secret: "s"}, rest.Kernel{Stats: s, Logs: logs, Configs: k, Applier: k, Proxies: k, Selector: k, Rules: k}, slog.New(logs))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler())
	t.Cleanup(func() {
		a.Close()
		srv.Close()
	})
	return srv
}

func open(s *stats.Stats, host string, up, down uint64) *stats.Flow {
	f := &stats.Flow{
		Flow: framework.Flow{Network: framework.TCP, Destination: framework.Addr{Host: host, Port: 443}},
		Info: stats.Info{Chain: []string{"节点", "Proxy"}, Rule: "DomainSuffix", Payload: "example.test"},
	}
	s.Open(f, nil)
	f.Up.Store(up)
	f.Down.Store(down)
	return f
}

func TestOncePrintsOneFrame(t *testing.T) {
	t.Parallel()
	s := stats.New()
	open(s, "a.example.test", 1500, 3<<20)
	srv := controller(t, s)
	var out bytes.Buffer

	err := Run(t.Context(), Options{URL: srv.URL, Secret: "s", Out: &out, Once: true, Size: func() (int, int) { return 160, 24 }})

	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"culvert v9", "flows 1", "total up 1.5KiB  down 3.0MiB", "a.example.test:443", "节点 < Proxy", "DomainSuffix example.test", "42      0  DomainSuffix,example.test,Proxy"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a printed frame has escape sequences")
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	t.Parallel()
	srv := controller(t, stats.New())
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	if err := Run(t.Context(), Options{URL: srv.URL, Secret: "x", Out: io.Discard}); !errors.Is(err, errSecret) {
		t.Errorf("wrong secret: got %v", err)
	}
	if err := Run(t.Context(), Options{URL: gone.URL, Out: io.Discard}); err == nil {
		t.Error("no controller: got no error")
	}
	for _, url := range []string{"", "ftp://x", "http://", "://"} {
		if err := Run(t.Context(), Options{URL: url, Out: io.Discard}); err == nil {
			t.Errorf("%q: got no error", url)
		}
	}
}

// screen is a terminal that tells of each write.
type screen struct {
	mu    sync.Mutex // guards all, last
	all   strings.Builder
	wrote chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	s.all.Write(b)
	s.mu.Unlock()
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (s *screen) text() string { s.mu.Lock(); defer s.mu.Unlock(); return s.all.String() }

// await waits until the screen has shown text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !strings.Contains(s.text(), text) {
		select {
		case <-s.wrote:
		case <-limit:
			t.Fatalf("%q was not drawn in %q", text, s.text())
		}
	}
}

func TestViewIsLiveAndQuits(t *testing.T) {
	t.Parallel()
	s := stats.New()
	f := open(s, "a.test", 0, 0)
	srv := controller(t, s)
	keys, press := io.Pipe()
	defer press.Close()
	scr := &screen{wrote: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { // ends with q
		ended <- Run(t.Context(), Options{URL: srv.URL, Secret: "s", Out: scr, In: keys, Size: func() (int, int) { return 80, 24 }})
	}()
	scr.await(t, "a.test:443")
	f.Down.Store(123 << 20)
	scr.await(t, "123MiB")

	if _, err := press.Write([]byte("xq")); err != nil {
		t.Fatal(err)
	}

	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("q did not quit")
	}
	if !strings.HasPrefix(scr.text(), enterScreen) || !strings.HasSuffix(scr.text(), leaveScreen) {
		t.Error("the terminal is not put back")
	}
}

func TestFrameFitsTheTerminal(t *testing.T) {
	t.Parallel()
	v := &view{url: "http://127.0.0.1:9090", version: "v9"}
	snap := &snapshot{at: time.Now()}
	for i := range 200 {
		f := flow{ID: fmt.Sprint(i), Download: uint64(i) << 20, Chains: []string{"🇨🇭 很长的名字 " + strings.Repeat("长", i), "Proxy"}}
		f.Metadata.Host, f.Metadata.DestinationPort, f.Metadata.Network = strings.Repeat("x", i)+".test", "443", "tcp"
		snap.Connections = append(snap.Connections, f)
	}
	var rules []rule
	for i := range 100 {
		r := rule{Index: i, Type: "Domain", Payload: "x.test", Proxy: "Proxy"}
		r.Extra.HitCount = uint64(i)
		rules = append(rules, r)
	}
	v.apply(update{snapshot: snap, rules: rules})
	for _, size := range [][2]int{{80, 24}, {20, 4}, {40, 10}, {200, 60}, {0, 0}, {81, 25}} {
		width, height := max(size[0], 20), max(size[1], 4)
		lines := strings.Split(strings.TrimSuffix(v.frame(size[0], size[1]), "\n"), "\n")

		if len(lines) > height {
			t.Errorf("%v: got %d lines", size, len(lines))
		}
		for _, line := range lines {
			if _, used := cut(line, 1<<20); used > width {
				t.Errorf("%v: a line has %d columns: %q", size, used, line)
			}
		}
		if height >= 10 && (!strings.Contains(strings.Join(lines, "\n"), "RATE") || !strings.Contains(strings.Join(lines, "\n"), "HITS")) {
			t.Errorf("%v: a table is missing", size)
		}
	}
}

func TestTerminalIsNotFooledByNames(t *testing.T) {
	t.Parallel()
	v := &view{version: "v9\x1b]0;x\x07", url: "u\r\n"}
	f := flow{ID: "1", Chains: []string{"\x1b[2Jnode", "a\x9bb"}, Rule: "x\ny"}
	f.Metadata.Host = "evil\x1b[31m\x00\x7f\u202e"
	v.apply(update{snapshot: &snapshot{Connections: []flow{f}}, err: errors.New("bad\x1bthing")})

	frame := v.frame(200, 24)

	for _, r := range frame {
		if r != '\n' && (r < 0x20 || r == 0x7f || r == 0x9b || r == 0x202e) {
			t.Errorf("%q reaches the terminal", r)
		}
	}
	if n := strings.Count(frame, "\n"); n != 4 {
		t.Errorf("got %d lines, want 4:\n%s", n, frame)
	}
}

func TestRatesAreDifferences(t *testing.T) {
	t.Parallel()
	v, at := new(view), time.Now()
	v.apply(update{snapshot: &snapshot{at: at, DownloadTotal: 1000, Connections: []flow{{ID: "a", Download: 100}}}})
	if v.downRate >= 0 || v.rates != nil {
		t.Error("a rate is shown before there are two figures")
	}

	v.apply(update{snapshot: &snapshot{at: at.Add(2 * time.Second), DownloadTotal: 3000, Connections: []flow{{ID: "a", Download: 500}, {ID: "b", Upload: 50}}}})

	if v.downRate != 1000 || v.rates["a"] != 200 || v.rates["b"] != 25 {
		t.Errorf("got %v and %v", v.downRate, v.rates)
	}
	v.apply(update{snapshot: &snapshot{at: at.Add(3 * time.Second)}}) // the kernel was restarted
	if v.downRate != 0 {
		t.Errorf("got %v after a restart, want 0", v.downRate)
	}
}

func TestSizesAreShort(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{0: "0B", 999: "999B", 1024: "1.0KiB", 150 << 10: "150KiB", 1 << 20: "1.0MiB", 1023 << 20: "1.0GiB", 1 << 50: "1PiB"} {
		if got := size(n); got != want {
			t.Errorf("%v: got %s, want %s", n, got, want)
		}
	}
}

package compat_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/tests/compat"
	"github.com/culvert-proxy/culvert/tests/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(harness.Finish)) }

// minimalPrefixes are the recordings of the second configuration.
var minimalPrefixes = []string{"cors-list-", "minimal-", "nosecret-", "nodebug-", "nodns-", "after-payload-dns"}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// serve starts a controller; change may alter its configuration.
func serve(t *testing.T, f *fake, flows bool, secret string, change func(*rest.Config, *rest.Kernel)) (addr string, logger *slog.Logger) {
	t.Helper()
	level := new(slog.LevelVar)
	level.Set(stats.LevelSilent)
	logs, s := stats.NewLogStream(slog.DiscardHandler, level), stats.New()
	if flows {
		openRecorded(s)
	}
	k := rest.Kernel{Stats: s, Logs: logs, Configs: f, Applier: f, Proxies: f, Selector: f, Rules: f, Delays: f, ProxyProviders: f, RuleProviders: f, DNS: f, Storage: f}
	cfg := rest.Config{Name: "culvert", Version: "v1.0.0", Secret: framework.Secret(secret), Home: "/home/kernel"}
	change(&cfg, &k)
	a, err := rest.New(cfg, k, slog.New(logs))
	if err != nil {
		t.Fatal(err)
	}
	h := a.Handler()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		a.Close()
		srv.Close()
	})
	return srv.Listener.Addr().String(), slog.New(logs)
}

// openRecorded opens the flows that the recordings of /connections show.
func openRecorded(s *stats.Stats) {
	ip := netip.MustParseAddr("127.0.0.1")
	in := framework.Origin{Name: "DEFAULT-MIXED", Type: "HTTPS", Local: netip.AddrPortFrom(ip, 29070)}
	source := netip.AddrPortFrom(ip, 50000)
	for _, f := range []*stats.Flow{
		{Flow: framework.Flow{Network: framework.TCP, Source: source, Destination: framework.Addr{IP: ip, Port: 29080}, Inbound: in},
			Info: stats.Info{Chain: []string{"DIRECT"}, Rule: "GeoIP", Payload: "lan", RemoteIP: ip}},
		{Flow: framework.Flow{Network: framework.TCP, Source: source, Destination: framework.Addr{Host: "x.suffix.test", Port: 29080}, Inbound: in},
			Info: stats.Info{Chain: []string{"socks-b", "auto"}, Rule: "DomainSuffix", Payload: "suffix.test", RemoteIP: ip}},
		{Flow: framework.Flow{Network: framework.TCP, Source: source, Destination: framework.Addr{Host: "origin.test", Port: 29080}, Inbound: in},
			Info: stats.Info{Chain: []string{"socks-a", "fall", "Proxy"}, Rule: "Domain", Payload: "origin.test", RemoteIP: ip}},
	} {
		s.Open(f, nil)
	}
}

// userInterface is a directory with the recorded files.
func userInterface(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"index.html": "<!doctype html><title>ui</title>ui-index\n", "a.txt": "ui-file\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// volatileState are recordings of a state that changed between the calls: only
// their shape is compared.
var volatileState = map[string]bool{
	"proxy-after-delays": true, "proxy-dead-after-delays": true, "pinned-urltest": true, "after-restart-group": true, "connections-get": true, "connections-empty": true,
	"provider-get-default": true, "provider-get-pfile": true, "provider-get-pinline": true, "provider-node": true, "providers-proxies": true, "group-one": true, "group-list": true,
	"proxy-get-ss-up": true,
}

func TestRecordedCallsAreAnsweredAsRecorded(t *testing.T) {
	t.Parallel()
	all, err := compat.Load("testdata/v1.19.30")
	if err != nil {
		t.Fatal(err)
	}
	main, minimal := newFake(t, all, "configs-get", "rules-get"), newFake(t, all, "minimal-configs", "minimal-rules")
	ui := userInterface(t)
	mainAddr, logger := serve(t, main, true, "parity-secret", func(c *rest.Config, _ *rest.Kernel) {
		c.Debug, c.UI, c.CORS.AllowPrivateNetwork = true, ui, true
	})
	minimalAddr, _ := serve(t, minimal, false, "", func(c *rest.Config, k *rest.Kernel) {
		c.CORS.AllowOrigins = []string{"https://board.example", "https://*.zone.example"}
		k.DNS = nil
	})
	provoke := func(r compat.Recording) {
		if !strings.HasPrefix(r.Name, "logs-") {
			return
		}
		logger.Debug("[Rule] use default rules")
		logger.Log(t.Context(), stats.LevelFlow, "[TCP] 127.0.0.1:50000 --> origin.test:29080 match Domain(origin.test) using Proxy[socks-b]")
	}
	for _, r := range all {
		target := compat.Target{Addr: mainAddr, Secret: "parity-secret", Depth: compat.Values, Provoke: provoke}
		if hasPrefix(r.Name, minimalPrefixes) || strings.HasPrefix(r.Name, "unix-") {
			target.Addr = minimalAddr
		}
		if volatileState[r.Name] {
			target.Depth = compat.Shape
		}
		replay := func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for _, d := range target.Replay(ctx, r) {
				t.Error(d)
			}
		}
		t.Run(r.Name, func(t *testing.T) {
			if len(r.Response.Lines) > 0 || len(r.Response.Messages) > 0 || r.Response.Status == http.StatusSwitchingProtocols {
				t.Parallel() // takes a second; changes nothing
			}
			replay(t)
		})
	}
}

func TestEveryExceptionHasAReasonAndARecording(t *testing.T) {
	t.Parallel()
	all, err := compat.Load("testdata/v1.19.30")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, r := range all {
		names[r.Name] = true
	}
	for name, e := range compat.Exceptions() {
		if e.Reason == "" || !names[name] {
			t.Errorf("%s: reason %q, recorded %v", name, e.Reason, names[name])
		}
	}
}

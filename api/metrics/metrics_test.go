package metrics_test

import (
	"bytes"
	"io"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/api/metrics"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/tests/require"
)

// scrape is the text of one scrape.
func scrape(t testing.TB, cfg metrics.Config) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Handler(cfg).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("got %d %q", w.Code, w.Body)
	}
	b, _ := io.ReadAll(w.Body)
	return string(b)
}

// busy is a Stats in which everything was counted.
func busy() *stats.Stats {
	s := stats.New()
	f := &stats.Flow{
		Flow: framework.Flow{Network: framework.TCP, Inbound: framework.Origin{Name: "DEFAULT-MIXED"}},
		Info: stats.Info{Chain: []string{"node \xff\"\n", "Proxy"}},
	}
	s.Open(f, nil)
	f.Up.Store(5)
	closed := &stats.Flow{Flow: f.Flow, Info: stats.Info{Chain: []string{"DIRECT"}}}
	s.Open(closed, nil)
	closed.Up.Store(10)
	closed.Down.Store(20)
	closed.Close("")
	s.Refused(stats.FlowLabels{Network: "udp", Inbound: "DEFAULT-SOCKS", Outbound: "REJECT", Reason: "rejected"})
	s.Dial("socks5").Observe(3 * time.Millisecond)
	s.CountPlugin(stats.PluginLabels{Metric: "Bytes-Read_total", Kind: "outbound", Type: "trojan", Name: "node"}, 4)
	s.CountPlugin(stats.PluginLabels{Metric: "bytes_read", Kind: "outbound", Type: "trojan", Name: "node"}, 3)
	s.Applies.OK.Add(2)
	s.Applies.LastSuccess.Store(1735787045)
	return s
}

func rules(n int) func() []metrics.Rule {
	return func() []metrics.Rule {
		rs := make([]metrics.Rule, n)
		for i := range rs {
			rs[i] = metrics.Rule{Type: "DomainSuffix", Payload: "example.test", Target: "Proxy", Hits: 1}
		}
		return rs
	}
}

func TestScrapeShowsWhatWasCounted(t *testing.T) {
	t.Parallel()

	got := scrape(t, metrics.Config{Stats: busy(), Rules: rules(1), Version: "v1"})

	for _, want := range []string{
		`culvert_flows_open 1`,
		`culvert_flows_total{inbound="DEFAULT-MIXED",network="tcp",outbound="DIRECT",reason="ok"} 1`,
		`culvert_flows_total{inbound="DEFAULT-SOCKS",network="udp",outbound="REJECT",reason="rejected"} 1`,
		`culvert_bytes_total{direction="upload",outbound="DIRECT"} 10`,
		`culvert_bytes_total{direction="download",outbound="DIRECT"} 20`,
		"culvert_bytes_total{direction=\"upload\",outbound=\"node \ufffd\\\"\\n\"} 5",
		`culvert_dial_seconds_bucket{type="socks5",le="0.0025"} 0`,
		`culvert_dial_seconds_bucket{type="socks5",le="0.005"} 1`,
		`culvert_dial_seconds_count{type="socks5"} 1`,
		`culvert_rule_matches_total{index="0",payload="example.test",target="Proxy",type="DomainSuffix"} 1`,
		`culvert_config_applies_total{result="ok"} 2`,
		`culvert_config_applies_total{result="failed"} 0`,
		`culvert_config_last_success_seconds 1.735787045e+09`,
		`culvert_plugin_bytes_read_total{kind="outbound",name="node",type="trojan"} 7`,
		`culvert_build_info{`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%s is not there", want)
		}
	}
}

func TestManyRulesShareASeries(t *testing.T) {
	t.Parallel()

	got := scrape(t, metrics.Config{Stats: stats.New(), Rules: rules(20000)})

	if n := strings.Count(got, "\nculvert_rule_matches_total{"); n != 501 {
		t.Errorf("got %d series, want 501", n)
	}
	if !strings.Contains(got, `culvert_rule_matches_total{index="other",payload="",target="",type=""} 19500`) {
		t.Error("the rest is not summed")
	}
}

func TestPromtoolIsContent(t *testing.T) {
	t.Parallel()
	promtool := require.Tool(t, "promtool")
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, metrics.Config{Stats: busy(), Rules: rules(3), Version: "v1"}))

	out, err := cmd.CombinedOutput()

	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func BenchmarkScrape(b *testing.B) {
	h := metrics.Handler(metrics.Config{Stats: busy(), Rules: rules(500)})
	req := httptest.NewRequest("GET", "/metrics", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}

package metrics_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/api/metrics"
	"github.com/culvert-proxy/culvert/tests/require"
)

const monitoring = "../../configs/monitoring"

// metricNames matches the names of this program's metrics.
var metricNames = regexp.MustCompile(`\b(?:culvert|process|go)_[a-z_]+\b`)

func TestDashboardAndAlertsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	got := scrape(t, metrics.Config{Stats: busy(), Rules: rules(1), Version: "v1"})
	for _, file := range []string{"grafana-dashboard.json", "alerts.yaml", "alerts_test.yaml"} {
		b, err := os.ReadFile(filepath.Join(monitoring, file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricNames.FindAllString(string(b), -1)
		if len(names) < 5 {
			t.Errorf("%s: got the metrics %v, want several", file, names)
		}
		for _, name := range names {
			if !strings.Contains(got, "\n"+name+"{") && !strings.Contains(got, "\n"+name+" ") {
				t.Errorf("%s: %s is not in a scrape", file, name)
			}
		}
	}
}

func TestDashboardPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(monitoring, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}

	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its id is taken, it has no title or target, or it does not fit", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
}

func TestAlertsHoldTheirTests(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), require.Tool(t, "promtool"), "test", "rules", "alerts_test.yaml")
	cmd.Dir = monitoring

	out, err := cmd.CombinedOutput()

	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

package metrics_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/api/metrics"
	"github.com/culvert-proxy/culvert/framework/stats"
)

func TestNodesShowTheirLastTest(t *testing.T) {
	t.Parallel()
	nodes := []metrics.Node{
		{Name: "good", Type: "Socks5", Tested: true, Alive: true, Delay: 25 * time.Millisecond},
		{Name: "dead", Type: "Http", Tested: true},
		{Name: "new", Type: "Http", Alive: true},
		{Name: "auto", Type: "URLTest", Group: true, Alive: true, Picks: 7},
	}

	got := scrape(t, metrics.Config{Stats: stats.New(), Nodes: func() []metrics.Node { return nodes }})

	for _, want := range []string{
		`culvert_node_alive{name="good",type="Socks5"} 1`,
		`culvert_node_alive{name="dead",type="Http"} 0`,
		`culvert_node_delay_seconds{name="good",type="Socks5"} 0.025`,
		`culvert_group_picks_total{name="auto",type="URLTest"} 7`,
		`culvert_nodes{state="alive"} 1`, `culvert_nodes{state="dead"} 1`, `culvert_nodes{state="untested"} 1`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("%s is not there", want)
		}
	}
	for _, no := range []string{`node_alive{name="new"`, `node_delay_seconds{name="dead"`, `node_alive{name="auto"`} {
		if strings.Contains(got, no) {
			t.Errorf("%s is there", no)
		}
	}
}

func TestManyNodesHaveABoundedNumberOfSeries(t *testing.T) {
	t.Parallel()
	nodes := make([]metrics.Node, 5000)
	for i := range nodes {
		nodes[i] = metrics.Node{Name: fmt.Sprintf("n%04d", i), Type: "Http", Tested: true, Alive: true, Delay: time.Millisecond}
	}

	got := scrape(t, metrics.Config{Stats: stats.New(), Nodes: func() []metrics.Node { return nodes }})

	if n := strings.Count(got, "\nculvert_node_"); n != 1000 {
		t.Errorf("got %d series, want 1000", n)
	}
	if !strings.Contains(got, `culvert_nodes{state="alive"} 5000`) {
		t.Error("not all are counted")
	}
}

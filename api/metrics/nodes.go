package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Node is an outbound or a group.
type Node struct {
	Name, Type string
	Group      bool
	Tested     bool
	Alive      bool          // by its last test
	Delay      time.Duration // of its last test, 0 when that failed
	Picks      uint64        // of a group: dials through it since it was built
}

// maxNodes is how many nodes have series of their own, the first by name; the
// rest are in the sums only. Chosen: as maxRules.
const maxNodes = 500

// nodeDescs are the metrics of nodes.
type nodeDescs struct{ alive, delay, picks, count *prometheus.Desc }

func newNodeDescs(desc func(name, help string, labels ...string) *prometheus.Desc) nodeDescs {
	return nodeDescs{
		alive: desc("node_alive", "Whether the last test of an outbound or group passed; tested ones only.", "name", "type"),
		delay: desc("node_delay_seconds", "Delay that the last test measured; nodes that passed it only.", "name", "type"),
		picks: desc("group_picks_total", "Dials through a group, since it was built.", "name", "type"),
		count: desc("nodes", "Outbounds by the outcome of their last test.", "state"),
	}
}

// collect sends the series of nodes.
func (d nodeDescs) collect(nodes []Node, gauge func(d *prometheus.Desc, v float64, labels ...string), counter countFunc) {
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	states := map[string]int{"alive": 0, "dead": 0, "untested": 0}
	for i, n := range nodes {
		if !n.Group {
			states[n.state()]++
		}
		if i >= maxNodes {
			continue
		}
		if n.Group {
			counter(d.picks, n.Picks, n.Name, n.Type)
		}
		if !n.Tested {
			continue
		}
		alive := 0.0
		if n.Alive {
			alive = 1
		}
		gauge(d.alive, alive, n.Name, n.Type)
		if n.Delay > 0 {
			gauge(d.delay, n.Delay.Seconds(), n.Name, n.Type)
		}
	}
	for state, n := range states {
		gauge(d.count, float64(n), state)
	}
}

func (n Node) state() string {
	switch {
	case !n.Tested:
		return "untested"
	case n.Alive:
		return "alive"
	}
	return "dead"
}

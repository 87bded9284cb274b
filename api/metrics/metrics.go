// Package metrics shows what the kernel counts to Prometheus. It keeps no
// figures of its own: a scrape reads framework/stats. Labels take values from
// the configuration only, so the number of series is bounded by it.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// Rule is one rule and how often it matched.
type Rule struct {
	Type, Payload, Target string
	Hits                  uint64
}

// Config is what a scrape reads.
type Config struct {
	Stats   *stats.Stats
	Rules   func() []Rule   // in the order of evaluation; nil for none
	Nodes   func() []Node   // outbounds and groups, in any order; nil for none
	Plugins func() []Plugin // plugin processes; nil for none
	Version string
	Log     *slog.Logger // told of errors while a scrape is gathered; nil for none
}

// maxRules is how many rules have series of their own; the rest are summed.
// Chosen: what a Prometheus server takes from one target without notice.
const maxRules = 500

// Handler answers scrapes. It has a registry of its own, made at the first
// scrape: a kernel that nobody watches does not pay for it.
func Handler(cfg Config) http.Handler {
	handler := sync.OnceValue(func() http.Handler {
		r := prometheus.NewRegistry()
		r.MustRegister(NewCollector(cfg), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		opts := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes}
		if cfg.Log != nil {
			opts.ErrorLog = slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)
		}
		return promhttp.HandlerFor(r, opts)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler().ServeHTTP(w, r) })
}

// maxScrapes is how many scrapes are answered at once; the next ones get 503.
// Chosen: a few Prometheus servers.
const maxScrapes = 8

// Collector reads stats when it is asked.
type Collector struct {
	cfg                              Config
	open, flows, bytes, dial, rules  *prometheus.Desc
	applies, lastApply, build, start *prometheus.Desc
	nodes                            nodeDescs
	plugins                          pluginDescs
}

// NewCollector makes a Collector.
func NewCollector(cfg Config) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("culvert_"+name, help, labels, nil)
	}
	return &Collector{
		cfg:       cfg,
		open:      desc("flows_open", "Flows that are open."),
		flows:     desc("flows_total", "Flows that ended, or were refused, by how.", "network", "inbound", "outbound", "reason"),
		bytes:     desc("bytes_total", "Payload bytes relayed, by the exit outbound; open flows included.", "direction", "outbound"),
		dial:      desc("dial_seconds", "Time to open a connection through an outbound.", "type"),
		rules:     desc("rule_matches_total", "Flows that a rule decided, since the last apply.", "index", "type", "payload", "target"),
		applies:   desc("config_applies_total", "Configurations that were to be put in force, by result.", "result"),
		lastApply: desc("config_last_success_seconds", "Unix time of the last configuration that was put in force."),
		build:     desc("build_info", "The version of this kernel; always 1.", "version", "goversion", "revision"),
		nodes:     newNodeDescs(desc),
		plugins:   newPluginDescs(desc),
		start:     desc("start_time_seconds", "Unix time when the kernel started to count."),
	}
}

// Describe sends nothing: the names of plugin counters are not known before
// they are counted, so the collector is an unchecked one.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads all figures.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s := c.cfg.Stats
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, clean(labels)...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), clean(labels)...)
	}
	gauge(c.open, float64(s.OpenFlows()))
	s.FinishedFlows(func(l stats.FlowLabels, n uint64) {
		counter(c.flows, n, l.Network, l.Inbound, l.Outbound, l.Reason)
	})
	for name, b := range s.ByOutbound() {
		counter(c.bytes, b[0], "upload", name)
		counter(c.bytes, b[1], "download", name)
	}
	s.Dials(func(outboundType string, h *stats.Histogram) {
		count, sum, buckets := h.Read()
		out <- prometheus.MustNewConstHistogram(c.dial, count, sum, buckets, clean([]string{outboundType})...)
	})
	c.collectRules(counter)
	if c.cfg.Nodes != nil {
		c.nodes.collect(c.cfg.Nodes(), gauge, counter)
	}
	if c.cfg.Plugins != nil {
		c.plugins.collect(c.cfg.Plugins(), gauge, counter)
	}
	counter(c.applies, s.Applies.OK.Load(), "ok")
	counter(c.applies, s.Applies.Failed.Load(), "failed")
	gauge(c.lastApply, float64(s.Applies.LastSuccess.Load()))
	gauge(c.build, 1, c.cfg.Version, runtime.Version(), revision())
	gauge(c.start, float64(s.Started.UnixMilli())/1000)
	c.collectPlugins(counter)
}

type countFunc func(d *prometheus.Desc, v uint64, labels ...string)

// collectRules sends a series for each of the first rules and one for the rest.
func (c *Collector) collectRules(counter countFunc) {
	if c.cfg.Rules == nil {
		return
	}
	var others uint64
	rules := c.cfg.Rules()
	for i, r := range rules {
		if i >= maxRules {
			others += r.Hits
			continue
		}
		counter(c.rules, r.Hits, strconv.Itoa(i), r.Type, r.Payload, r.Target)
	}
	if len(rules) > maxRules {
		counter(c.rules, others, "other", "", "", "")
	}
}

// collectPlugins sends the counters that instances keep. Two names that are
// one after spelling them as Prometheus wants are added up.
func (c *Collector) collectPlugins(counter countFunc) {
	type series struct{ name, kind, typ, instance string }
	sums := map[series]uint64{}
	c.cfg.Stats.PluginCounts(func(l stats.PluginLabels, n uint64) {
		sums[series{metricName(l.Metric), l.Kind, l.Type, l.Name}] += n
	})
	descs := map[string]*prometheus.Desc{}
	for s, n := range sums {
		d := descs[s.name]
		if d == nil {
			d = prometheus.NewDesc("culvert_plugin_"+s.name+"_total", "Counted by plugins.", []string{"kind", "type", "name"}, nil)
			descs[s.name] = d
		}
		counter(d, n, s.kind, s.typ, s.instance)
	}
}

// metricName spells a plugin's metric as Prometheus wants: lower case letters,
// digits and underscores, without the _total that is added.
func metricName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, s)
	name = strings.Trim(strings.TrimSuffix(name, "_total"), "_")
	if name == "" {
		return "unnamed"
	}
	return name
}

// clean makes label values valid UTF-8: a name in a configuration may be any
// bytes, and one bad label would cost the whole scrape.
func clean(labels []string) []string {
	out := slices.Clone(labels)
	for i, l := range out {
		out[i] = strings.ToValidUTF8(l, "\ufffd")
	}
	return out
}

// revision is the commit that this program was built from, "" when unknown.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

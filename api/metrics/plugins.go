package metrics

import "github.com/prometheus/client_golang/prometheus"

// Plugin is a plugin that runs as a process.
type Plugin struct {
	Origin   string
	State    string // one of pluginStates
	Restarts uint64
}

// pluginStates are the states in the order of a life.
var pluginStates = []string{"stopped", "starting", "ready", "backoff", "draining", "failed"}

// pluginDescs are the metrics of plugin processes.
type pluginDescs struct{ state, restarts *prometheus.Desc }

func newPluginDescs(desc func(name, help string, labels ...string) *prometheus.Desc) pluginDescs {
	return pluginDescs{
		state:    desc("plugin_state", "Whether a plugin process is in a state: 1 for the one it is in.", "origin", "state"),
		restarts: desc("plugin_restarts_total", "Starts of a plugin process after one that ended unasked.", "origin"),
	}
}

// collect sends the series of plugin processes.
func (d pluginDescs) collect(list []Plugin, gauge func(d *prometheus.Desc, v float64, labels ...string), counter countFunc) {
	for _, p := range list {
		for _, state := range pluginStates {
			in := 0.0
			if state == p.State {
				in = 1
			}
			gauge(d.state, in, p.Origin, state)
		}
		counter(d.restarts, p.Restarts, p.Origin)
	}
}

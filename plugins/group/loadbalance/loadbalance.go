// Package loadbalance is the group that spreads flows over its members: by
// where they go, in turn, or by who asks (config-proxies.md §4.3). Suspicions
// and tests take members out; a flow of packets goes to one that carries them.
package loadbalance

import (
	"cmp"
	"context"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/standing"
)

// The strategies.
const (
	consistentHashing = "consistent-hashing"
	roundRobin        = "round-robin"
	stickySessions    = "sticky-sessions"
)

// Config is the policy; the members and their tests are the kernel's.
type Config struct {
	URL      string `yaml:"url" doc:"URL of the health test"`
	Strategy string `yaml:"strategy" enum:"consistent-hashing,round-robin,sticky-sessions" doc:"how a member is picked"`
}

// Descriptor describes the group.
func Descriptor() framework.Descriptor {
	return framework.NewGroup("load-balance", Default, New, framework.WithLabel("LoadBalance"),
		framework.WithSummary("spread flows over the members"),
		framework.WithStability(framework.Beta), framework.WithCaps(framework.CapTested))
}

// Default returns the configuration of an empty mapping.
func Default() Config {
	return Config{URL: "https://www.gstatic.com/generate_204", Strategy: consistentHashing}
}

// New makes one instance.
func New(_ context.Context, _ framework.Host, c Config) (framework.Group, error) {
	g := &group{url: cmp.Or(c.URL, Default().URL), strategy: c.Strategy}
	if c.Strategy == stickySessions {
		g.sessions = newSessions()
	}
	return g, nil
}

type group struct {
	url      string
	strategy string
	record   standing.Record
	turns    turns
	sessions *sessions // of sticky-sessions
}

// view is the members as one flow may use them.
type view struct {
	flow    *framework.Flow
	members framework.Members
	names   []string
	url     string
	marks   *standing.Marks
	now     time.Time // zero without marks
}

// Pick asks the strategy, and falls back to the first member that works.
func (g *group) Pick(f *framework.Flow, m framework.Members) (string, error) {
	v := view{flow: f, members: m, names: m.Names(), url: g.url, marks: g.record.Marks()}
	if v.marks != nil {
		v.now = time.Now()
	}
	i := -1
	switch g.strategy { // no call through a variable: v would escape
	case roundRobin:
		i = g.turns.pick(&v)
	case stickySessions:
		i = g.sessions.pick(&v)
	default:
		i = byDestination(&v)
	}
	if i < 0 {
		i = v.first()
	}
	return v.names[i], nil
}

// Report takes in how a dial went: a member that failed is left out at once.
func (g *group) Report(name string, r framework.Result) { g.record.Report(name, r) }

// real says whether the flow is one, and not a question of what would be
// picked.
func (v *view) real() bool { return v.flow.Destination.IsValid() }

// usable says whether the member works for the flow.
func (v *view) usable(i int) bool {
	name := v.names[i]
	h := v.members.Health(name, v.url)
	return h.Alive && v.carries(name) && v.marks.Of(name, h, v.now) == standing.Trusted
}

func (v *view) carries(name string) bool {
	return v.flow.Network != framework.UDP || v.members.CarriesPackets(name)
}

// first is the first usable member, else the first that is alive although
// traffic failed through it, else the first that carries the flow.
func (v *view) first() int {
	alive, able := -1, -1
	for i, name := range v.names {
		if v.usable(i) {
			return i
		}
		if alive < 0 && v.members.Health(name, v.url).Alive && v.carries(name) {
			alive = i
		}
		if able < 0 && v.carries(name) {
			able = i
		}
	}
	if alive >= 0 {
		return alive
	}
	return max(able, 0)
}

// Package fallback is the group that uses the first member that works
// (config-proxies.md §4.3).
package fallback

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/standing"
)

// Config is the policy; the members and their tests are the kernel's.
type Config struct {
	URL string `yaml:"url" doc:"URL of the health test"`
}

// Descriptor describes the group.
func Descriptor() framework.Descriptor {
	return framework.NewGroup("fallback", Default, New, framework.WithLabel("Fallback"),
		framework.WithSummary("use the first member that works"),
		framework.WithStability(framework.Beta), framework.WithCaps(framework.CapTested))
}

// Default returns the configuration of an empty mapping.
func Default() Config { return Config{URL: "https://www.gstatic.com/generate_204"} }

// New makes one instance.
func New(_ context.Context, _ framework.Host, c Config) (framework.Group, error) {
	return &group{url: cmp.Or(c.URL, Default().URL)}, nil
}

type group struct {
	url    string
	record standing.Record
	pin    atomic.Pointer[string] // nil: none
	choice atomic.Pointer[standing.Choice]

	mu sync.Mutex // one goroutine chooses
}

// Pick returns the pin while it works, else the first member that does. In the
// common case it loads four atomics.
func (g *group) Pick(_ *framework.Flow, m framework.Members) (string, error) {
	if c := g.choice.Load(); c.Stands(m, &g.record, g.pin.Load()) {
		return c.Name, nil
	}
	return g.choose(m), nil
}

func (g *group) choose(m framework.Members) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := standing.Begin(m, &g.record, g.pin.Load())
	if old := g.choice.Load(); old != nil {
		c.Stay = old.Stay
	}
	if c.Stay = g.first(m, c); c.Stay == "" {
		c.Stay = g.alive(m, c)
	}
	c.Name = c.Stay
	if g.pinned(m, c) {
		c.Name = *c.Pin
	}
	g.choice.Store(c)
	return c.Name
}

// pinned says whether the pin is to be used. A dead one is cleared; one that
// traffic just failed through is passed over and stays.
func (g *group) pinned(m framework.Members, c *standing.Choice) bool {
	if c.Pin == nil || !slices.Contains(m.Names(), *c.Pin) {
		return false
	}
	h := m.Health(*c.Pin, g.url)
	if !h.Alive && g.pin.CompareAndSwap(c.Pin, nil) {
		c.Pin = nil
		return false
	}
	return h.Alive && c.Marks.Of(*c.Pin, h, c.At) == standing.Trusted
}

// first is the first member that works. One that comes and goes is passed over
// until it is steady, unless it is in use.
func (g *group) first(m framework.Members, c *standing.Choice) string {
	for _, name := range m.Names() {
		h := m.Health(name, g.url)
		if h.Alive && (name == c.Stay || standing.Steady(h)) && c.Marks.Of(name, h, c.At) == standing.Trusted {
			return name
		}
	}
	return ""
}

// alive is for when no member is beyond doubt: the first that is not suspect,
// the first alive one, the first.
func (g *group) alive(m framework.Members, c *standing.Choice) string {
	doubtful := ""
	for _, name := range m.Names() {
		h := m.Health(name, g.url)
		switch {
		case !h.Alive:
		case c.Marks.Of(name, h, c.At) == standing.Trusted:
			return name
		case doubtful == "":
			doubtful = name
		}
	}
	if doubtful != "" {
		return doubtful
	}
	return standing.First(m, g.url, c)
}

// Report takes in how a dial went: a member that failed is left at once.
func (g *group) Report(name string, r framework.Result) { g.record.Report(name, r) }

// Select pins a member; "" clears the pin. A pin that is dead at the next pick
// vanishes.
func (g *group) Select(name string, m framework.Members) error {
	if name == "" {
		g.pin.Store(nil)
		return nil
	}
	if !slices.Contains(m.Names(), name) {
		return fmt.Errorf("%q: %w", name, framework.ErrNotMember)
	}
	g.pin.Store(&name)
	return nil
}

// Selected is the pin, "" for none.
func (g *group) Selected() string {
	if p := g.pin.Load(); p != nil {
		return *p
	}
	return ""
}

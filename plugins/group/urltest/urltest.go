// Package urltest is the group that uses the member with the shortest delay,
// and stays with it until another is shorter beyond tolerance and noise
// (config-proxies.md §4.3).
package urltest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/standing"
)

// Config is the policy; the members and their tests are the kernel's.
type Config struct {
	URL       string    `yaml:"url" doc:"URL of the health test"`
	Tolerance Tolerance `yaml:"tolerance" doc:"milliseconds by which another member must be faster"`
}

// Tolerance is in milliseconds. Text that is no number counts as 0, as users'
// files may have it.
type Tolerance int

// UnmarshalText reads a number. It never fails.
func (t *Tolerance) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil {
		n = 0
	}
	*t = Tolerance(n)
	return nil
}

// Descriptor describes the group.
func Descriptor() framework.Descriptor {
	return framework.NewGroup("url-test", Default, New, framework.WithLabel("URLTest"),
		framework.WithSummary("use the member with the shortest delay"),
		framework.WithStability(framework.Beta), framework.WithCaps(framework.CapTested))
}

// Default returns the configuration of an empty mapping.
func Default() Config { return Config{URL: "https://www.gstatic.com/generate_204"} }

// New makes one instance.
func New(_ context.Context, _ framework.Host, c Config) (framework.Group, error) {
	return &group{url: cmp.Or(c.URL, Default().URL), tolerance: float64(c.Tolerance)}, nil
}

type group struct {
	url       string
	tolerance float64
	record    standing.Record
	pin       atomic.Pointer[string] // nil: none
	choice    atomic.Pointer[standing.Choice]

	mu sync.Mutex // one goroutine chooses
}

// Pick returns the pin while it works, else the member that the group stays
// with. In the common case it loads four atomics.
func (g *group) Pick(_ *framework.Flow, m framework.Members) (string, error) {
	if c := g.choice.Load(); c.Stands(m, &g.record, g.pin.Load()) {
		return c.Name, nil
	}
	return g.choose(m), nil
}

// rest is how long, for each member, a choice stands although results come in,
// as long as its own member works. Chosen: choosing takes 1 µs a member, and in
// a round over thousands of members each flow would have to.
const rest = 50 * time.Microsecond

func (g *group) choose(m framework.Members) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, c := g.choice.Load(), standing.Begin(m, &g.record, g.pin.Load())
	if old != nil {
		young := c.At.Sub(old.At) < rest*time.Duration(len(m.Names()))
		if young && old.Pin == c.Pin && old.Marks == c.Marks && g.alive(old.Name, m) {
			return old.Name
		}
		c.Stay = old.Stay
	}
	c.Stay, c.Name = g.best(m, c)
	if c.Pin != nil && g.alive(*c.Pin, m) && c.Standing(m, g.url, *c.Pin) == standing.Trusted {
		c.Name = *c.Pin
	}
	g.choice.Store(c)
	return c.Name
}

func (g *group) alive(name string, m framework.Members) bool {
	return slices.Contains(m.Names(), name) && m.Health(name, g.url).Alive
}

// best is the member to stay with, the one before unless it is gone, dead,
// out, or clearly slower than another, and the one to use: another while it is
// suspect.
func (g *group) best(m framework.Members, c *standing.Choice) (stay, use string) {
	var best, current, clean candidate
	alive, suspect := false, false
	for _, name := range m.Names() {
		h := m.Health(name, g.url)
		if !h.Alive {
			continue
		}
		alive = true
		w, s := weigh(name, h), c.Marks.Of(name, h, c.At)
		if name == c.Stay && s != standing.Out {
			current, suspect = w, s == standing.Suspect
		}
		if s != standing.Trusted {
			continue
		}
		clean = clean.orBetter(w)
		if w.steady {
			best = best.orBetter(w)
		}
	}
	if !best.valid() {
		best = clean
	}
	switch {
	case current.valid() && suspect && best.valid():
		return current.name, best.name
	case current.valid() && (!best.valid() || !current.slower(best, g.tolerance)):
		return current.name, current.name
	case best.valid():
		return best.name, best.name
	case alive:
		stay = g.fastest(m)
	default:
		stay = standing.First(m, g.url, c)
	}
	return stay, stay
}

// fastest is the best alive member, suspect or not: where traffic fails
// through all, the fault is likely elsewhere.
func (g *group) fastest(m framework.Members) string {
	var best candidate
	for _, name := range m.Names() {
		if h := m.Health(name, g.url); h.Alive {
			best = best.orBetter(weigh(name, h))
		}
	}
	return best.name
}

// Report takes in how a dial went: a member that failed is left at once.
func (g *group) Report(name string, r framework.Result) { g.record.Report(name, r) }

// Select pins a member; "" clears the pin.
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

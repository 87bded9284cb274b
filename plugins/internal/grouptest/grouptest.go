// Package grouptest gives the tests of groups members whose health the test
// decides.
package grouptest

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// Members is framework.Members for one goroutine. All members carry packets
// unless they are in Streams.
type Members struct {
	List    []string
	Streams []string // members that carry streams only
	health  map[string]framework.Health
	changes uint64
}

// New makes members that were never tested.
func New(names ...string) *Members {
	return &Members{List: names, health: map[string]framework.Health{}}
}

// Names are the members.
func (m *Members) Names() []string { return m.List }

// Health is what Test recorded, whatever the URL.
func (m *Members) Health(name, _ string) framework.Health {
	if h, ok := m.health[name]; ok {
		return h
	}
	return framework.Health{Alive: true}
}

// CarriesPackets says whether name is not one of Streams.
func (m *Members) CarriesPackets(name string) bool { return !slices.Contains(m.Streams, name) }

// Changes counts the calls of Test and Set.
func (m *Members) Changes() uint64 { return m.changes }

// Test records results of a member, in milliseconds, 0 for one that failed.
func (m *Members) Test(name string, ms ...int) {
	h := m.health[name]
	for _, d := range ms {
		h.Tests = append(slices.Clip(h.Tests), framework.Tested{At: time.Now(), Delay: time.Duration(d) * time.Millisecond})
		h.Alive = d > 0
	}
	h.Tests = h.Tests[max(0, len(h.Tests)-10):]
	m.health[name] = h
	m.changes++
}

// Set replaces the names.
func (m *Members) Set(names ...string) {
	m.List = names
	m.changes++
}

// Pick is what g picks for a stream.
func Pick(t testing.TB, g framework.Group, m framework.Members) string {
	t.Helper()
	return PickFor(t, g, m, &framework.Flow{Network: framework.TCP})
}

// PickFor is what g picks for a flow.
func PickFor(t testing.TB, g framework.Group, m framework.Members, f *framework.Flow) string {
	t.Helper()
	name, err := g.Pick(f, m)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(m.Names(), name) {
		t.Fatalf("picked %q, which is no member", name)
	}
	return name
}

// Build makes a group from YAML, which must be right.
func Build(t testing.TB, d framework.Descriptor, text string) framework.Group {
	t.Helper()
	tree, err := conf.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	src := tree.Root().Source(conf.LooseCase, configs.GroupKeys()...)
	g, err := framework.Build[framework.Group](t.Context(), d, nil, src)
	if err != nil {
		t.Fatal(err)
	}
	if w := src.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
	return g
}

// Sample builds the group of sample.yaml in the package's folder.
func Sample(t *testing.T, d framework.Descriptor) {
	t.Helper()
	text, err := os.ReadFile("sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	Build(t, d, string(text))
}

// Hammer uses a group from many goroutines at once, for the race detector.
func Hammer(t *testing.T, g framework.Group) {
	t.Helper()
	m := New("a", "b", "c")
	m.Test("a", 10)
	m.Test("b", 0)
	m.Test("c", 20)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { // ends after its turns
			for turn := range 200 {
				f := &framework.Flow{Network: framework.TCP, Destination: framework.Addr{Host: "a.test", Port: uint16(turn)}}
				name, err := g.Pick(f, m)
				if err != nil || name == "b" {
					t.Errorf("picked %q, %v", name, err)
				}
				r := framework.Result{Network: framework.TCP}
				if (turn+i)%7 == 0 {
					r.Err = framework.ErrTimeout
				}
				g.Report(name, r)
				if s, ok := g.(framework.Selector); ok && turn%20 == 0 {
					s.Select(m.List[turn/20%3], m)
				}
			}
		})
	}
	all.Wait()
}

// Bench measures Pick in the common case, and holds it at no allocation.
func Bench(b *testing.B, g framework.Group, m framework.Members, f *framework.Flow) {
	b.Helper()
	if n := testing.AllocsPerRun(100, func() { PickFor(b, g, m, f) }); n > 0 {
		b.Errorf("%v allocations, want none", n)
	}
	b.ReportAllocs()
	for b.Loop() {
		g.Pick(f, m)
	}
}

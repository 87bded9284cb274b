package loadbalance_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/plugins/group/loadbalance"
	"github.com/culvert-proxy/culvert/plugins/internal/grouptest"
)

var strategies = []string{"consistent-hashing", "round-robin", "sticky-sessions"}

func build(t testing.TB, strategy string) framework.Group {
	return grouptest.Build(t, loadbalance.Descriptor(), "{strategy: "+strategy+"}")
}

// to is a flow from one client to a host or address.
func to(destination string) *framework.Flow {
	f := &framework.Flow{Network: framework.TCP, Source: netip.MustParseAddrPort("192.0.2.1:1000")}
	if ip, err := netip.ParseAddr(destination); err == nil {
		f.Destination = framework.Addr{IP: ip, Port: 443}
	} else {
		f.Destination = framework.Addr{Host: destination, Port: 443}
	}
	return f
}

func from(source, destination string) *framework.Flow {
	f := to(destination)
	f.Source = netip.AddrPortFrom(netip.MustParseAddr(source), 1000)
	return f
}

func many(n int) *grouptest.Members {
	m := grouptest.New()
	for i := range n {
		m.List = append(m.List, fmt.Sprint("m", i))
	}
	return m
}

func TestUnusableMembersAreLeftOut(t *testing.T) {
	t.Parallel()
	for _, strategy := range strategies {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := build(t, strategy)
				m := grouptest.New("dead", "failing", "stream", "good")
				m.Streams = []string{"stream"}
				m.Test("dead", 0)
				time.Sleep(time.Second)
				g.Report("failing", framework.Result{Err: framework.ErrTimeout})

				got := map[string]bool{}
				for i := range 100 {
					f := to(fmt.Sprintf("site%d.example", i))
					got[grouptest.PickFor(t, g, m, f)] = true
				}
				for i := range 100 {
					f := to(fmt.Sprintf("site%d.example", i))
					f.Network = framework.UDP
					if name := grouptest.PickFor(t, g, m, f); name != "good" {
						t.Errorf("packets go to %s", name)
					}
				}
				if len(got) != 2 || !got["stream"] || !got["good"] {
					t.Errorf("streams go to %v, want stream and good", got)
				}
			})
		})
	}
}

func TestWithoutAUsableMemberTheFirstIsPicked(t *testing.T) {
	t.Parallel()
	for _, strategy := range strategies {
		g := build(t, strategy)
		m := grouptest.New("a", "b")
		m.Test("a", 0)
		m.Test("b", 0)
		if got := grouptest.PickFor(t, g, m, to("site.example")); got != "a" {
			t.Errorf("%s: got %s, want a", strategy, got)
		}
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	t.Parallel()
	g := build(t, "round-robin")
	m := grouptest.New("a", "b", "c", "d")
	m.Test("b", 0)
	var got []string
	for range 6 {
		got = append(got, grouptest.PickFor(t, g, m, to("site.example")))
		grouptest.Pick(t, g, m) // a question, of no flow: moves nothing
	}
	if want := []string{"a", "c", "d", "a", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOneSiteGoesToOneMember(t *testing.T) {
	t.Parallel()
	g := build(t, "consistent-hashing")
	m := many(10)
	pick := func(destination string) string { return grouptest.PickFor(t, g, m, to(destination)) }
	for _, same := range [][]string{
		{"example.co.uk", "www.example.co.uk", "a.b.example.co.uk"},
		{"one.github.io", "x.one.github.io"},
		{"localhost", "localhost"},
		{"192.0.2.7", "192.0.2.7"},
		{"2001:db8::1", "2001:db8::1"},
	} {
		for _, other := range same[1:] {
			if pick(same[0]) != pick(other) {
				t.Errorf("%s and %s go different ways", same[0], other)
			}
		}
	}
	used := map[string]int{}
	for i := range 1000 {
		used[pick(fmt.Sprintf("site%d.example", i))]++
	}
	for name, n := range used {
		if n < 60 || n > 150 {
			t.Errorf("%s has %d of 1000 sites", name, n)
		}
	}
	if len(used) != 10 {
		t.Errorf("%d members used, want 10", len(used))
	}
}

// The mapping is the same in each run: clients keep their address at a site.
func TestMappingIsFixed(t *testing.T) {
	t.Parallel()
	g := build(t, "consistent-hashing")
	m := many(10)
	var got []string
	for _, d := range []string{"example.com", "example.org", "192.0.2.1", "2001:db8::1", "localhost"} {
		got = append(got, grouptest.PickFor(t, g, m, to(d)))
	}
	if want := "m9 m9 m2 m0 m4"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestFewSitesMoveWhenAMemberComes(t *testing.T) {
	t.Parallel()
	g := build(t, "consistent-hashing")
	few, more := many(10), many(11)
	moved := 0
	for i := range 1000 {
		f := to(fmt.Sprintf("site%d.example", i))
		if grouptest.PickFor(t, g, few, f) != grouptest.PickFor(t, g, more, f) {
			moved++
		}
	}
	if moved > 150 {
		t.Errorf("%d of 1000 moved, want about 91", moved)
	}
}

func TestSessionStaysWithItsMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := build(t, "sticky-sessions")
		m := many(50)
		pick := func(source, destination string) string {
			return grouptest.PickFor(t, g, m, from(source, destination))
		}
		first := pick("192.0.2.1", "a.site.example")
		for range 20 {
			time.Sleep(9 * time.Minute)
			if got := pick("192.0.2.1", "b.site.example"); got != first {
				t.Fatalf("got %s, want %s", got, first)
			}
		}
		others := map[string]bool{}
		for i := range 50 {
			others[pick(fmt.Sprintf("192.0.2.%d", i+2), "a.site.example")] = true
		}
		if len(others) < 10 {
			t.Errorf("50 clients share %d members", len(others))
		}

		m.Test(first, 0)
		second := pick("192.0.2.1", "a.site.example")
		m.Test(first, 10)

		if again := pick("192.0.2.1", "a.site.example"); second == first || again != second {
			t.Errorf("died %s, then %s, then %s: want the second to stay", first, second, again)
		}
	})
}

func TestSessionsAreForgotten(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(pick func(string) string){
		"after ten idle minutes": func(func(string) string) { time.Sleep(10*time.Minute + time.Second) },
		"after a thousand others": func(pick func(string) string) {
			for i := range 1000 {
				pick(fmt.Sprintf("10.0.%d.%d", i/250, i%250+1))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := build(t, "sticky-sessions")
				m := many(1000)
				pick := func(source string) string {
					return grouptest.PickFor(t, g, m, from(source, "site.example"))
				}
				moved := 0
				for i := range 5 {
					source := fmt.Sprintf("192.0.2.%d", i+1)
					first := pick(source)
					forget(pick)
					if pick(source) != first {
						moved++
					}
				}
				if moved == 0 {
					t.Error("all sessions are remembered")
				}
			})
		})
	}
}

func TestUnknownStrategyIsRefused(t *testing.T) {
	t.Parallel()
	tree, err := conf.Parse("test", []byte("{strategy: round robin}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := loadbalance.Descriptor().Check(tree.Root().Source(conf.LooseCase)); err == nil || !strings.Contains(err.Error(), "round-robin") {
		t.Errorf("got %v, want an error that names round-robin", err)
	}
}

func TestGroupIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	for _, strategy := range strategies {
		grouptest.Hammer(t, build(t, strategy))
	}
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	grouptest.Sample(t, loadbalance.Descriptor())
}

// The public suffix list costs one allocation for each host name: it looks
// for an address in it first.
func BenchmarkPick(b *testing.B) {
	for _, strategy := range strategies {
		b.Run(strategy+" to a name", func(b *testing.B) { benchPick(b, strategy, "www.example.co.uk", 1) })
		b.Run(strategy+" to an address", func(b *testing.B) { benchPick(b, strategy, "192.0.2.7", 0) })
	}
}

func benchPick(b *testing.B, strategy, destination string, allocs float64) {
	g, m, f := build(b, strategy), many(50), to(destination)
	if n := testing.AllocsPerRun(100, func() { g.Pick(f, m) }); n > allocs {
		b.Errorf("%v allocations, want %v", n, allocs)
	}
	b.ReportAllocs()
	for b.Loop() {
		g.Pick(f, m)
	}
}

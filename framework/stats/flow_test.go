package stats

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func open(s *Stats, outbound string, k Killer) *Flow {
	f := &Flow{Flow: framework.Flow{Network: framework.TCP, Inbound: framework.Origin{Name: "in"}}, Info: Info{Chain: []string{outbound}}}
	s.Open(f, k)
	return f
}

// TestSumsAreExactAndNeverDecrease opens, counts and closes flows from many
// goroutines while others take sums.
func TestSumsAreExactAndNeverDecrease(t *testing.T) {
	t.Parallel()
	const writers, flows, steps = 8, 200, 10
	s := New()
	stop := make(chan struct{})
	var readers, all sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var up, down uint64
			for {
				u, d := s.Bytes()
				if u < up || d < down {
					t.Errorf("sums went from %d, %d to %d, %d", up, down, u, d)
					return
				}
				up, down = u, d
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for w := range writers {
		all.Go(func() {
			for range flows {
				f := open(s, fmt.Sprint("out ", w%3), nil)
				for range steps {
					f.Up.Add(3)
					f.Down.Add(5)
				}
				f.Close("")
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()

	up, down := s.Bytes()
	if want := uint64(writers * flows * steps); up != 3*want || down != 5*want {
		t.Errorf("got %d up, %d down, want %d, %d", up, down, 3*want, 5*want)
	}
	var byName uint64
	for _, b := range s.ByOutbound() {
		byName += b[0]
	}
	if byName != up || len(s.ByOutbound()) != 3 {
		t.Errorf("by outbound %v, want %d in three", s.ByOutbound(), up)
	}
	if n := s.OpenFlows(); n != 0 || len(s.Flows(nil)) != 0 {
		t.Errorf("%d flows open", n)
	}
	var finished uint64
	s.FinishedFlows(func(l FlowLabels, n uint64) {
		if l.Reason != "ok" || l.Network != "tcp" || l.Inbound != "in" {
			t.Errorf("labels %+v", l)
		}
		finished += n
	})
	if finished != writers*flows {
		t.Errorf("%d finished, want %d", finished, writers*flows)
	}
}

func TestFlowsListsWhatIsOpen(t *testing.T) {
	t.Parallel()
	s := New()
	var all []*Flow
	for range 100 {
		all = append(all, open(s, "x", nil))
	}
	for i := 0; i < 100; i += 2 {
		all[i].Close("")
	}

	listed := map[*Flow]bool{}
	for _, f := range s.Flows(nil) {
		listed[f] = true
	}

	for i, f := range all {
		if listed[f] != (i%2 == 1) {
			t.Errorf("flow %d listed: %v", i, listed[f])
		}
	}
	if n := s.OpenFlows(); n != 50 || len(listed) != 50 {
		t.Errorf("%d open, %d listed, want 50", n, len(listed))
	}
}

func TestIDsAreUniqueAndLookLikeUUIDs(t *testing.T) {
	t.Parallel()
	s := New()
	var mu sync.Mutex // guards seen
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				f := open(s, "x", nil)
				id := f.IDText()
				f.Close("")
				mu.Lock()
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()

	for id := range seen {
		if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[14] != '4' || id[18] != '-' || id[23] != '-' {
			t.Fatalf("%q is not in the form of a version 4 UUID", id)
		}
		break
	}
	a, b := open(s, "x", nil), open(New(), "x", nil)
	if aID, bID := a.ID(), b.ID(); [8]byte(aID[:8]) == [8]byte(bID[:8]) {
		t.Error("two runs share their prefix")
	}
}

type killCount struct{ n int }

func (k *killCount) Kill() { k.n++ }

func TestKilledFlowIsKilledOnceAndCountedSo(t *testing.T) {
	t.Parallel()
	s, k := New(), new(killCount)
	f := open(s, "x", k)

	f.Kill()
	f.Kill()
	f.Close("timeout")
	open(s, "x", nil).Kill() // nobody to tell

	if k.n != 1 {
		t.Errorf("killed %d times", k.n)
	}
	s.FinishedFlows(func(l FlowLabels, n uint64) {
		if l.Reason != "killed" || n != 1 {
			t.Errorf("%d flows ended with %q", n, l.Reason)
		}
	})
}

func TestOpenKeepsAGivenStart(t *testing.T) {
	t.Parallel()
	s := New()
	given := &Flow{Start: time.Unix(1000, 0), Info: Info{Chain: []string{"x"}}}
	s.Open(given, nil)

	if !given.Start.Equal(time.Unix(1000, 0)) || open(s, "x", nil).Start.IsZero() {
		t.Errorf("start %v", given.Start)
	}
}

func TestHistogramIsCumulative(t *testing.T) {
	t.Parallel()
	s := New()
	h := s.Dial("ss")
	for _, d := range []time.Duration{time.Millisecond, 30 * time.Millisecond, time.Minute} {
		h.Observe(d)
	}

	count, sum, buckets := h.Read()

	if count != 3 || sum < 60.03 || sum > 60.04 {
		t.Errorf("count %d, sum %v", count, sum)
	}
	for le, want := range map[float64]uint64{.001: 1, .025: 1, .05: 2, 5: 2} {
		if buckets[le] != want {
			t.Errorf("bucket %v: %d, want %d", le, buckets[le], want)
		}
	}
	if s.Dial("ss") != h || s.Dial("direct") == h {
		t.Error("histograms are not one per type")
	}
}

func TestCountersAddUpByLabel(t *testing.T) {
	t.Parallel()
	s := New()
	l := PluginLabels{"retries", "outbound", "ss", "tokyo"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				s.CountPlugin(l, 2)
				s.Refused(FlowLabels{"udp", "in", "REJECT", "rejected"})
			}
		})
	}
	wg.Wait()

	s.PluginCounts(func(got PluginLabels, n uint64) {
		if got != l || n != 16000 {
			t.Errorf("%+v: %d, want 16000", got, n)
		}
	})
	s.FinishedFlows(func(got FlowLabels, n uint64) {
		if n != 8000 {
			t.Errorf("%+v: %d, want 8000", got, n)
		}
	})
}

func BenchmarkOpenClose(b *testing.B) {
	s := New()
	source := netip.MustParseAddrPort("10.0.0.1:1000")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f := &Flow{Flow: framework.Flow{Network: framework.TCP, Source: source}, Info: Info{Chain: chain}}
			s.Open(f, nil)
			f.Close("")
		}
	})
}

var chain = []string{"DIRECT"}

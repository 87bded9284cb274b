package route

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// twin walks one table both ways and keeps counters as a scan would.
type twin struct {
	table  *Table
	counts map[*Rule]*Counters
	walker client
	reader client
	now    int64
}

func newTwin(t testing.TB, d dice, c Catalog) *twin {
	t.Helper()
	main, subs := d.lines()
	table, errs := Compile(main, subs, c)
	if errs != nil {
		t.Fatalf("compile: %v", errs)
	}
	w := &twin{table: table, counts: map[*Rule]*Counters{}, now: 1}
	for l := range w.lists() {
		for _, r := range l.rules {
			w.counts[r] = &Counters{}
		}
	}
	return w
}

func (w *twin) lists() func(func(*List) bool) {
	return func(yield func(*List) bool) {
		if !yield(w.table.main) {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(w.table.subs)) {
			if !yield(w.table.subs[name]) {
				return
			}
		}
	}
}

// see counts what a scan comes by.
func (w *twin) see(e event) {
	switch e.what {
	case missed, passed:
		w.counts[e.rule].Misses++
		w.counts[e.rule].MissAt = w.now
	case taken:
		w.counts[e.rule].Hits++
		w.counts[e.rule].HitAt = w.now
	}
}

// flow sends one flow both ways.
func (w *twin) flow(t testing.TB, d dice) {
	t.Helper()
	w.now++
	d.arrive(&w.walker)
	w.reader.flow, w.reader.resolves, w.reader.facts = w.walker.flow, w.walker.resolves, w.walker.facts
	list := w.table.main
	if d.often(10) {
		list = w.table.subs["s"]
	}
	w.walker.begin()
	w.reader.begin()

	rule, target := list.Match(&w.walker.flow, &w.walker, time.Unix(0, w.now))

	s := scan{flow: &w.reader.flow, visitor: &w.reader, see: w.see}
	wantRule, wantTarget, _ := s.list(list)
	if rule != wantRule || target != wantTarget {
		t.Fatalf("flow %+v: %v → %q, the scan says %v → %q", w.walker.flow, rule, target, wantRule, wantTarget)
	}
	if w.walker.asked != w.reader.asked || w.walker.ip != w.reader.ip {
		t.Fatalf("flow %+v: resolved %d times, the scan %d times", w.walker.flow, w.walker.asked, w.reader.asked)
	}
	if w.walker.looked != w.reader.looked || string(w.walker.accepted) != string(w.reader.accepted) {
		t.Fatalf("flow %+v: looked at %b, tried %s; the scan %b, %s", w.walker.flow,
			w.walker.looked, w.walker.accepted, w.reader.looked, w.reader.accepted)
	}
}

// toggle switches some rules.
func (w *twin) toggle(d dice) {
	for l := range w.lists() {
		if len(l.rules) == 0 {
			continue
		}
		l.rules[d(len(l.rules))].SetDisabled(d.often(60))
		off := map[int]bool{-1: true, len(l.rules): true}
		for range d(4) {
			off[d(len(l.rules))] = d.often(40)
		}
		l.Disable(off)
	}
}

func (w *twin) compareCounters(t testing.TB) {
	t.Helper()
	for l := range w.lists() {
		for i, got := range l.Counters() {
			if want := *w.counts[l.rules[i]]; got != want {
				t.Fatalf("list %q, rule %d: counters %+v, the scan has %+v", l.Name, i, got, want)
			}
		}
	}
}

// run sends flows through a random table while rules are switched.
func run(t testing.TB, d dice, c Catalog, flows int) {
	t.Helper()
	w := newTwin(t, d, c)
	for i := range flows {
		if i%48 == 47 {
			w.compareCounters(t)
			w.toggle(d)
		}
		w.flow(t, d)
	}
	w.compareCounters(t)
}

// TestIndexAgreesWithTheScan compares a million pairs of a list and a flow:
// rule, target, names resolved, facts looked up, targets tried, counters.
func TestIndexAgreesWithTheScan(t *testing.T) {
	t.Parallel()
	const lists, flows = 1600, 625
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newBuiltRules()
	for part := range uint64(2) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for i := part; i < lists; i += 2 {
				run(t, rand.New(rand.NewPCG(seed, i)).IntN, c, flows)
			}
		})
	}
}

func FuzzIndexAgreesWithTheScan(f *testing.F) {
	c := newBuiltRules()
	for seed := range uint64(8) {
		b := make([]byte, 1500)
		rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		next := func(sides int) int {
			if len(b) == 0 {
				return 0
			}
			n := int(b[0]) % sides
			b = b[1:]
			return n
		}
		run(t, next, c, 100)
	})
}

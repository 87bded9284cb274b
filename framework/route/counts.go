package route

import (
	"sync"
	"sync/atomic"
)

// A rule that was reached and did not decide was missed. A walk tells no rule
// that it passed it: it counts where it ended, and what a rule missed is the
// number of walks that ended behind it. While a rule is disabled it misses
// nothing, so its number is set aside when it is switched.

// ends counts walks that ended at one place.
type ends struct {
	n  atomic.Uint64
	at atomic.Int64 // of the last, Unix nanoseconds, 0 for never
}

func (e *ends) add(now int64) {
	e.n.Add(1)
	e.at.Store(now)
}

// Counters are what was counted of one rule. Times are Unix nanoseconds, 0 for
// never.
type Counters struct {
	Hits, Misses  uint64
	HitAt, MissAt int64
}

// history is what rules missed before they were switched off or on.
type history struct {
	mu sync.Mutex     // guards of
	of map[int]before // by rule
}

// before is the misses of a rule up to the last switch, and the walks that had
// ended behind it by then.
type before struct {
	missed uint64
	at     int64
	walks  uint64
}

// Counters are those of all rules in order. They are exact for walks that have
// ended, but for one that was under way while a rule that it passed was
// switched; MissAt needs times that do not go back.
func (l *List) Counters() []Counters {
	l.counts.mu.Lock()
	defer l.counts.mu.Unlock()
	all := make([]Counters, len(l.rules))
	l.backwards(func(r *Rule, walks uint64, at int64) {
		missed, at := l.missed(r, walks, at)
		all[r.Index] = Counters{r.Hits.Load(), missed, r.HitAt.Load(), at}
	})
	return all
}

// backwards calls f for each rule, the last first, with the number of walks
// that ended behind it and when the last of them did.
func (l *List) backwards(f func(r *Rule, walks uint64, at int64)) {
	walks, at := l.ends.n.Load(), l.ends.at.Load()
	for i := len(l.rules) - 1; i >= 0; i-- {
		r := l.rules[i]
		f(r, walks, at)
		walks += r.Hits.Load() + r.left.n.Load()
		at = max(at, r.HitAt.Load(), r.left.at.Load())
	}
}

// missed is how often r was reached and did not decide, and when it last was.
// The caller holds counts.mu.
func (l *List) missed(r *Rule, walks uint64, at int64) (uint64, int64) {
	b := l.counts.of[r.Index]
	if r.disable.Load() || walks == b.walks {
		return b.missed, b.at
	}
	return b.missed + walks - b.walks, at
}

// Disable switches rules off (true) and on. Numbers that no rule has are
// ignored. A disabled rule is passed over as if it were not there.
func (l *List) Disable(off map[int]bool) {
	l.counts.mu.Lock()
	defer l.counts.mu.Unlock()
	l.backwards(func(r *Rule, walks uint64, at int64) {
		want, ok := off[r.Index]
		if !ok || want == r.disable.Load() {
			return
		}
		var b before
		b.missed, b.at = l.missed(r, walks, at)
		b.walks = walks
		if l.counts.of == nil {
			l.counts.of = map[int]before{}
		}
		l.counts.of[r.Index] = b
		r.disable.Store(want)
	})
}

// Disabled says whether the rule is switched off.
func (r *Rule) Disabled() bool { return r.disable.Load() }

// SetDisabled switches the rule off or on. For many rules List.Disable takes
// less time.
func (r *Rule) SetDisabled(off bool) {
	if r.disable.Load() != off {
		r.list.Disable(map[int]bool{r.Index: off})
	}
}

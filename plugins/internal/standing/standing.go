// Package standing is what groups make of their members beyond the last test:
// whether live traffic failed through one, and whether one that came back is
// to be trusted. The result of a test says neither: a node may pass it and
// carry nothing, and a node that comes and goes passes every other one.
package standing

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// All of these are chosen.
const (
	// expiry ends a suspicion that no test answers: tests of a large group take
	// their time, and a group without any must not lose its members.
	expiry = 30 * time.Second
	// memory is how long a suspicion counts when the next one comes.
	memory = 10 * time.Minute
	// firstHold is how long a member stays out after its second suspicion,
	// whatever its tests say; it doubles up to maxHold.
	firstHold = 10 * time.Second
	maxHold   = 5 * time.Minute
	// row is how many members fail one after another before the fault is seen
	// in where the traffic goes. Their suspicions then end after rowExpiry, in
	// which a flow may still try the others.
	row       = 3
	rowExpiry = time.Second
)

// Record remembers which members failed live traffic. The zero Record is
// empty. Its methods are safe for concurrent use.
type Record struct {
	marks atomic.Pointer[Marks] // nil: nobody failed

	mu    sync.Mutex // one writer; guards inRow
	inRow []string   // members that failed since the last dial that worked
}

// Marks are the failures at one time; they are not written again. A nil Marks
// has none.
type Marks struct {
	of      map[string]mark
	settled time.Time // from then on no answer changes with time
}

// mark is what one member did.
type mark struct {
	at      time.Time // of the last failure
	hold    time.Time // suspect until then, whatever tests say
	expires time.Time // suspect until then, unless a test says otherwise
	times   int
}

// Marks are the failures that count.
func (r *Record) Marks() *Marks { return r.marks.Load() }

// Suspect says whether the member is better left alone: live traffic failed
// through it and no test has passed since, or it did so more than once.
func (m *Marks) Suspect(name string, h framework.Health, now time.Time) bool {
	if m == nil {
		return false
	}
	k, ok := m.of[name]
	switch {
	case !ok || !now.Before(k.expires):
		return false
	case now.Before(k.hold):
		return true
	}
	for _, t := range slices.Backward(h.Tests) {
		return t.At.Before(k.at) || t.Delay == 0
	}
	return true
}

// Settled is when the answers of Suspect stop to change with time; the zero
// time when they do not.
func (m *Marks) Settled() time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.settled
}

// Report takes in how a dial through a member went.
func (r *Record) Report(name string, result framework.Result) {
	switch {
	case result.Err == nil:
		if r.marks.Load() != nil {
			r.worked(name, time.Now())
		}
	case blames(result.Err):
		r.failed(name, time.Now())
	}
}

// blames says whether an error may be the member's fault. A flow that its
// client gave up, that policy refused, or that asked for what cannot be says
// nothing.
func blames(err error) bool {
	switch framework.Classify(err) {
	case nil, framework.ErrRejected, framework.ErrUnsupported:
		return false
	}
	return true
}

// worked ends the suspicion of a member that carried a flow, unless it is held.
func (r *Record) worked(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inRow = r.inRow[:0]
	old := r.marks.Load()
	k, ok := old.of[name]
	if !ok || !now.Before(k.expires) || now.Before(k.hold) {
		return
	}
	next := old.copy(now)
	k.expires = now
	next.put(name, k)
	r.marks.Store(next)
}

func (r *Record) failed(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.marks.Load().copy(now)
	k := next.of[name]
	if !now.Before(k.expires) { // failures of flows that were on their way are one
		k.times++
		if k.times > 1 {
			k.hold = now.Add(min(firstHold<<min(k.times-2, 10), maxHold))
		}
	}
	k.at, k.expires = now, now.Add(max(expiry, k.hold.Sub(now)))
	next.put(name, k)
	if !slices.Contains(r.inRow, name) {
		r.inRow = append(r.inRow, name)
	}
	if len(r.inRow) >= row {
		next.forgive(r.inRow, now)
	}
	if len(r.inRow) > 2*row {
		r.inRow = r.inRow[1:]
	}
	r.marks.Store(next)
}

// copy leaves out what is forgotten.
func (m *Marks) copy(now time.Time) *Marks {
	next := &Marks{of: map[string]mark{}}
	if m != nil {
		maps.Copy(next.of, m.of)
		next.settled = m.settled
	}
	maps.DeleteFunc(next.of, func(_ string, k mark) bool { return now.Sub(k.at) > memory && now.After(k.expires) })
	return next
}

func (m *Marks) put(name string, k mark) {
	m.of[name] = k
	if k.expires.After(m.settled) {
		m.settled = k.expires
	}
}

// forgive ends the suspicions of names soon.
func (m *Marks) forgive(names []string, now time.Time) {
	for _, name := range names {
		if k, ok := m.of[name]; ok && k.expires.After(now) {
			k.times, k.hold, k.expires = 0, time.Time{}, now.Add(rowExpiry)
			m.put(name, k)
		}
	}
}

// Steady says whether a member that was left may be gone back to: it has
// passed as many tests in a row as it had outages within those that are
// remembered. After one outage the first good test is enough.
func Steady(h framework.Health) bool {
	outages, passed := 0, 0
	for i, t := range h.Tests {
		switch {
		case t.Delay > 0:
			passed++
		case i == 0 || h.Tests[i-1].Delay > 0:
			outages++
			fallthrough
		default:
			passed = 0
		}
	}
	return passed >= outages
}

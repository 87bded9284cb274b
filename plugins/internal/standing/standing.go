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
	// memory is how long a failure counts when the next one comes.
	memory = 2 * time.Minute
	// A member through which tolerated dials failed within memory, and more
	// than one in perFailure did, is left for firstHold, whatever its tests
	// say; each time for twice as long, up to maxHold.
	tolerated  = 3
	perFailure = 20
	firstHold  = 30 * time.Second
	maxHold    = 5 * time.Minute
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
	of      map[string]*mark
	settled time.Time // from then on no answer changes with time
}

// mark is what one member did. Only worked is written.
type mark struct {
	at      time.Time // of the last failure
	expires time.Time // suspect until then, unless a test says otherwise
	held    time.Time // out until then
	times   int       // failures, each after the one before was forgiven
	holds   int
	worked  *atomic.Uint32 // dials since the first failure
}

// Standing is how a member stands with live traffic.
type Standing int

// The standings.
const (
	Trusted Standing = iota
	Suspect          // traffic failed through it, and no test has passed since: to be avoided
	Out              // traffic keeps failing through it: to be left
)

// Marks are the failures that count.
func (r *Record) Marks() *Marks { return r.marks.Load() }

// Of is how a member stands at a time; h is what its tests found.
func (m *Marks) Of(name string, h framework.Health, now time.Time) Standing {
	if m == nil {
		return Trusted
	}
	k := m.of[name]
	switch {
	case k == nil:
		return Trusted
	case now.Before(k.held):
		return Out
	case !now.Before(k.expires):
		return Trusted
	}
	for _, t := range slices.Backward(h.Tests) {
		if t.At.Before(k.at) || t.Delay == 0 {
			return Suspect
		}
		return Trusted
	}
	return Suspect
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

// worked ends the suspicion of a member that carried a flow.
func (r *Record) worked(name string, now time.Time) {
	k := r.marks.Load().of[name]
	if k != nil {
		k.worked.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inRow = r.inRow[:0]
	if k = r.marks.Load().of[name]; k == nil || !now.Before(k.expires) || now.Before(k.held) {
		return
	}
	trusted := *k
	trusted.expires = now
	r.put(name, &trusted, now)
}

func (r *Record) failed(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &mark{worked: new(atomic.Uint32)}
	if m := r.marks.Load(); m != nil && m.of[name] != nil && now.Sub(m.of[name].at) < max(memory, 2*m.of[name].held.Sub(m.of[name].at)) {
		*k = *m.of[name]
	}
	k.times++
	if k.times >= tolerated && int(k.worked.Load()) < perFailure*k.times && !now.Before(k.held) {
		k.held = now.Add(min(firstHold<<min(k.holds, 10), maxHold))
		k.holds++
		k.times = 0
		k.worked = new(atomic.Uint32)
	}
	k.at, k.expires = now, now.Add(expiry)
	if !slices.Contains(r.inRow, name) {
		r.inRow = append(r.inRow, name)
	}
	if len(r.inRow) > 2*row {
		r.inRow = r.inRow[1:]
	}
	r.put(name, k, now)
	if len(r.inRow) >= row {
		r.forgive(now)
	}
}

// put makes k the mark of a member, and leaves out what is forgotten. The
// caller holds mu.
func (r *Record) put(name string, k *mark, now time.Time) {
	next := &Marks{of: map[string]*mark{}}
	if old := r.marks.Load(); old != nil {
		maps.Copy(next.of, old.of)
	}
	maps.DeleteFunc(next.of, func(_ string, k *mark) bool { return now.Sub(k.at) > memory+2*maxHold })
	next.of[name] = k
	for _, k := range next.of {
		for _, at := range []time.Time{k.expires, k.held} {
			if at.After(next.settled) {
				next.settled = at
			}
		}
	}
	r.marks.Store(next)
}

// forgive ends the suspicions of the members in a row soon. The caller holds
// mu.
func (r *Record) forgive(now time.Time) {
	for _, name := range r.inRow {
		if k := r.marks.Load().of[name]; k != nil && k.expires.After(now) {
			r.put(name, &mark{at: k.at, expires: now.Add(rowExpiry), worked: new(atomic.Uint32)}, now)
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

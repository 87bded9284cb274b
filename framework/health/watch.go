package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

const (
	// shared is how long a round that ended stands for one that is asked for.
	shared = time.Second
	// forcedGap is the least time between rounds, and between tests of one
	// member, that failed dials force; chosen: a destination that is down and
	// asked for all the time must not become a load on every node.
	forcedGap = 5 * time.Second
	// jitter is the part of an interval by which rounds are early or late at
	// random, so that those of many groups spread; chosen.
	jitter = 0.05
	// freshPart of an interval is how old a result may be to count for a round:
	// groups that share nodes and URL share their tests. Chosen.
	freshPart = 4
)

// Plan is what a Watch does.
type Plan struct {
	Spec
	Interval  time.Duration   // between rounds; 0 is none but those asked for
	Lazy      bool            // no round while the group was not used for an Interval
	MaxFailed int             // failed dials within Timeout that force a round; 0: none do
	Members   func() []Member // to test, each once
}

// Watch keeps the members of one group tested until Close. Its methods are
// safe for concurrent use.
type Watch struct {
	tester *Tester
	plan   Plan
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	wake   chan struct{} // holds one: the group is used again

	used    atomic.Int64 // Unix nanoseconds of the last dial
	skipped atomic.Bool  // a round was left out
	failing atomic.Bool  // failed is not 0

	mu      sync.Mutex // guards all below
	closed  bool
	round   chan struct{} // of the round that runs, closed when it ends
	ended   time.Time     // of the last round
	forced  time.Time     // of the last round that failed dials forced
	failed  int           // failed dials in a row
	since   time.Time     // of the first of them
	retests map[string]time.Time
}

// Watch begins to test as p says: a first round at once, if there are any.
func (t *Tester) Watch(p Plan) *Watch {
	w := &Watch{tester: t, plan: p, wake: make(chan struct{}, 1), retests: map[string]time.Time{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	if p.Interval > 0 {
		w.tasks.Go(w.loop) // ends with Close
	}
	return w
}

// Close ends all tests of the group and returns when they have. It may be
// called twice.
func (w *Watch) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.tasks.Wait()
}

func (w *Watch) loop() {
	w.check(w.ctx, w.freshness())
	for {
		t := time.NewTimer(spread(w.plan.Interval))
		select {
		case <-t.C:
		case <-w.wake:
			t.Stop()
		case <-w.ctx.Done():
			t.Stop()
			return
		}
		if w.idle() {
			continue
		}
		w.check(w.ctx, w.freshness())
	}
}

// idle says whether a round is to be left out, and remembers it so that the
// next use makes up for it.
func (w *Watch) idle() bool {
	if !w.plan.Lazy || time.Since(time.Unix(0, w.used.Load())) <= w.plan.Interval {
		return false
	}
	w.skipped.Store(true)
	return true
}

func (w *Watch) freshness() time.Time { return time.Now().Add(-w.plan.Interval / freshPart) }

func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
}

// Check tests all members and returns when it is done. Calls share a round
// that runs or has just ended.
func (w *Watch) Check(ctx context.Context) { w.check(ctx, time.Now().Add(-shared)) }

// check runs a round or waits for the one that runs. Members that have a
// result after fresh are left out.
func (w *Watch) check(ctx context.Context, fresh time.Time) {
	w.mu.Lock()
	running := w.round
	if running == nil && (w.closed || time.Since(w.ended) < shared) {
		w.mu.Unlock()
		return
	}
	if running == nil {
		running = make(chan struct{})
		w.round = running
		w.tasks.Go(func() { w.run(running, fresh) }) // ends with its tests, or Close
	}
	w.mu.Unlock()
	select {
	case <-running:
	case <-ctx.Done():
	}
}

func (w *Watch) run(done chan struct{}, fresh time.Time) {
	w.skipped.Store(false)
	each(w.plan.Members(), perRound, func(m Member) { w.tester.inBackground(w.ctx, m, w.plan.Spec, fresh) })
	w.mu.Lock()
	w.round, w.ended = nil, time.Now()
	w.mu.Unlock()
	close(done)
}

// Use says that a flow went through the group. It is on the flow path.
func (w *Watch) Use() {
	w.used.Store(time.Now().UnixNano())
	if w.skipped.Load() && w.skipped.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Dialled tells how a dial through a member went. One that worked costs a
// load; one that failed may start tests of the member, and of all members
// after several. Errors that are no node's fault do not count.
func (w *Watch) Dialled(member string, err error) {
	if err == nil {
		if w.failing.Load() {
			w.mu.Lock()
			w.failed = 0
			w.failing.Store(false)
			w.mu.Unlock()
		}
		return
	}
	switch framework.Classify(err) {
	case nil, framework.ErrRejected, framework.ErrUnsupported:
		return
	}
	if w.plan.MaxFailed > 0 {
		w.count(time.Now(), member, err)
	}
}

// count tests the member at once, and all members where mihomo's
// adapter/outboundgroup/groupbase.go does so.
func (w *Watch) count(now time.Time, member string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if now.Sub(w.since) > w.plan.Timeout {
		w.failed, w.since = 0, now
	}
	w.failed++
	w.failing.Store(true)
	if now.Sub(w.retests[member]) >= forcedGap {
		w.retests[member] = now
		w.tasks.Go(func() { w.retest(member, now) }) // ends with the test, or Close
	}
	enough := framework.Classify(err) == framework.ErrRefused || w.failed >= w.plan.MaxFailed
	if enough && now.Sub(w.forced) >= forcedGap {
		w.failed, w.forced = 0, now
		w.tasks.Go(func() { w.check(w.ctx, now) }) // ends with the round, or Close
	}
}

// retest tests one member.
func (w *Watch) retest(member string, fresh time.Time) {
	for _, m := range w.plan.Members() {
		if m.Name == member {
			w.tester.inBackground(w.ctx, m, w.plan.Spec, fresh)
			return
		}
	}
}

package health

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// How many tests run at once; chosen. A test holds one connection and two
// descriptors at most, so that all together stay far below the 1,024 that
// shells allow.
const (
	maxTests      = 64 // in all
	maxBackground = 48 // of those, in rounds that nobody waits for
	perRound      = 10 // of one group, as in mihomo's healthcheck.go
)

// Tester runs tests, a bounded number at once. One serves the whole process.
// The zero Tester is not ready; New makes one.
type Tester struct {
	unified    atomic.Bool
	changes    atomic.Uint64
	roots      *x509.CertPool
	slots      chan struct{}
	background chan struct{}

	mu      sync.Mutex               // guards running
	running map[flight]chan struct{} // closed when the test has ended
}

// flight names tests that are the same while they run.
type flight struct {
	node *Node
	url  string
}

// New makes a Tester. roots vouch for https targets; nil is the system's.
func New(roots *x509.CertPool) *Tester {
	return &Tester{roots: roots, slots: make(chan struct{}, maxTests), background: make(chan struct{}, maxBackground), running: map[flight]chan struct{}{}}
}

// SetUnified says whether a second request is timed, without the dial.
func (t *Tester) SetUnified(on bool) { t.unified.Store(on) }

// Changes moves with each result.
func (t *Tester) Changes() uint64 { return t.changes.Load() }

// Changed moves Changes: what depends on results may differ for other reasons.
func (t *Tester) Changed() { t.changes.Add(1) }

// Spec is what a test asks for.
type Spec struct {
	URL      string
	Expected Statuses
	Timeout  time.Duration // of each test, from its begin
}

// Member is a node and the way through it.
type Member struct {
	Name string
	Node *Node
	Via  framework.Dialer
}

// Test tests m now, waiting for a free place first, and records the result. A
// status that is not expected is no error, yet makes the node dead for the
// URL. A test that ctx cancels leaves no result; one that ran out of its
// Timeout is a failed one.
func (t *Tester) Test(ctx context.Context, m Member, s Spec) (time.Duration, error) {
	select {
	case t.slots <- struct{}{}:
	default:
		select {
		case t.slots <- struct{}{}:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	defer func() { <-t.slots }()
	return t.run(ctx, m, s)
}

// run is Test in a place that the caller has.
func (t *Tester) run(ctx context.Context, m Member, s Spec) (time.Duration, error) {
	limited, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	at := time.Now()
	status, took := 0, time.Duration(0)
	to, err := parseTarget(s.URL)
	if err == nil {
		status, took, err = guarded(func() (int, time.Duration, error) {
			return request(limited, m.Via, to, t.unified.Load(), t.roots)
		})
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return 0, err
		}
		m.Node.record(s.URL, at, 0, false)
		t.changes.Add(1)
		return 0, err
	}
	took = whole(took)
	m.Node.record(s.URL, at, took, s.Expected.has(status))
	t.changes.Add(1)
	return took, nil
}

// guarded turns a panic of an outbound into an error: a test is no reason to
// end the process.
func guarded(f func() (int, time.Duration, error)) (status int, took time.Duration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in a test: %v", r)
		}
	}()
	return f()
}

// TestAll tests all members, as many at once as there are places, and returns
// the delays of those that answered, by name.
func (t *Tester) TestAll(ctx context.Context, ms []Member, s Spec) map[string]time.Duration {
	var mu sync.Mutex // guards delays
	delays := map[string]time.Duration{}
	each(ms, maxTests, func(m Member) {
		if d, err := t.Test(ctx, m, s); err == nil {
			mu.Lock()
			defer mu.Unlock()
			delays[m.Name] = d
		}
	})
	return delays
}

// inBackground tests m for a round, unless it was tested with the URL after
// fresh. A test of another round that runs counts: its end is waited for.
func (t *Tester) inBackground(ctx context.Context, m Member, s Spec, fresh time.Time) {
	select {
	case t.background <- struct{}{}:
		defer func() { <-t.background }()
	case <-ctx.Done():
		return
	}
	done, first := t.begin(flight{m.Node, s.URL}, fresh)
	switch {
	case first:
		t.Test(ctx, m, s)
		t.mu.Lock()
		delete(t.running, flight{m.Node, s.URL})
		t.mu.Unlock()
		close(done)
	case done != nil:
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// begin joins the test that runs, or enters one where the last is not after
// fresh; else done is nil.
func (t *Tester) begin(key flight, fresh time.Time) (done chan struct{}, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if done = t.running[key]; done != nil {
		return done, false
	}
	if tests := key.node.Health(key.url).Tests; len(tests) > 0 && tests[len(tests)-1].At.After(fresh) {
		return nil, false
	}
	t.running[key] = make(chan struct{})
	return t.running[key], true
}

// each calls f for all members in up to limit goroutines and waits for them.
func each(ms []Member, limit int, f func(Member)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(limit, len(ms)) {
		all.Go(func() { // ends when no member is left
			for i := next.Add(1); int(i) <= len(ms); i = next.Add(1) {
				f(ms[i-1])
			}
		})
	}
	all.Wait()
}

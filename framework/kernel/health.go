package kernel

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/health"
)

const (
	// defaultTestURL is the target of tests where none is configured.
	defaultTestURL = "https://www.gstatic.com/generate_204"
	// defaultInterval is forced on groups that pick by health, as in mihomo's
	// adapter/outboundgroup/parser.go.
	defaultInterval = 300 * time.Second
	// pinTimeout bounds the test of a dead member that is to be pinned.
	pinTimeout = 5 * time.Second
)

// planTests reads how the members of a group are tested.
func planTests(s *nodeSpec, p *plan) {
	g := &s.group
	t := &s.tests
	var err error
	if t.Expected, err = health.ParseStatuses(g.ExpectedStatus); err != nil {
		p.add(s.node.GetLoose("expected-status").Errorf("%v", err))
	}
	t.URL, t.Lazy = g.URL, g.Lazy
	if t.URL == "" {
		t.URL = defaultTestURL
	}
	t.Timeout = positive(time.Duration(g.Timeout)*time.Millisecond, pinTimeout)
	t.Interval = max(time.Duration(g.Interval)*time.Second, 0)
	if s.desc.Has(framework.CapTested) {
		t.Interval = positive(t.Interval, defaultInterval)
		t.MaxFailed = g.MaxFailedTimes
		if t.MaxFailed <= 0 {
			t.MaxFailed = 5
		}
	}
}

func positive(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// memberView is what a group may know of its members. What a name stands for
// is looked up at each call: a member may be built anew while its group stays.
type memberView struct {
	k     *Kernel
	names []string
}

func (m *memberView) Names() []string { return m.names }

func (m *memberView) Health(name, url string) framework.Health {
	if n := m.k.tested(name); n != nil {
		return n.Health(url)
	}
	return framework.Health{Alive: true}
}

func (m *memberView) CarriesPackets(name string) bool {
	snap := m.k.Snapshot()
	if snap == nil || snap.Nodes[name] == nil {
		return false
	}
	if n := snap.Nodes[name]; n.Group == nil {
		return n.Packets
	}
	return snap.CarriesPackets(name)
}

func (m *memberView) Changes() uint64 { return m.k.tester.Changes() }

// testable are the members with the ways to them, each once.
func (m *memberView) testable() []health.Member {
	list := make([]health.Member, 0, len(m.names))
	seen := make(map[string]bool, len(m.names))
	for _, name := range m.names {
		if n := m.k.tested(name); n != nil && !seen[name] {
			seen[name] = true
			list = append(list, health.Member{Name: name, Node: n, Via: m.k.Through(name)})
		}
	}
	return list
}

// tested is where the results of the outbound or group called name are kept,
// nil when there is none.
func (k *Kernel) tested(name string) *health.Node {
	if all := k.results.Load(); all != nil {
		return (*all)[name]
	}
	return nil
}

// watched is a Group whose dials its health watch is told of.
type watched struct {
	framework.Group
	k     *Kernel
	watch atomic.Pointer[health.Watch] // nil: nobody tests
	picks atomic.Uint64                // dials through the group
}

// watchedSelector is a watched that is a framework.Selector.
type watchedSelector struct {
	*watched
	framework.Selector
}

func (k *Kernel) watchGroup(g framework.Group) (framework.Group, *watched) {
	w := &watched{Group: g, k: k}
	if s, ok := g.(framework.Selector); ok {
		return watchedSelector{w, s}, w
	}
	return w, w
}

// Report passes on how a dial went. A failure of an outbound that goes to the
// destination itself says nothing of the outbound.
func (w *watched) Report(name string, r framework.Result) {
	w.picks.Add(1)
	watch := w.watch.Load()
	if watch != nil {
		watch.Use()
	}
	if r.Err != nil && w.isDirect(name) {
		return
	}
	w.Group.Report(name, r)
	if watch != nil {
		watch.Dialled(name, r.Err)
	}
}

func (w *watched) isDirect(name string) bool {
	n := w.k.Snapshot().Nodes[name]
	return n == nil || n.Type.Has(framework.CapDirect)
}

// Close closes a group that wants to be.
func (w *watched) Close() error {
	if c, ok := w.Group.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

// startTests begins to test the members of the groups that are new. The
// caller holds mu.
func (k *Kernel) startTests(p *plan, next map[string]*instance) {
	for i := range p.groups {
		s := &p.groups[i]
		inst := next[s.name]
		if inst.watch != nil || s.tests.Interval == 0 {
			continue
		}
		s.tests.Members = inst.members.testable
		inst.watch = k.tester.Watch(s.tests)
		inst.group.watch.Store(inst.watch)
	}
}

// stopTests ends the tests of a group without waiting for an outbound that
// does not let go.
func (k *Kernel) stopTests(inst *instance) {
	if inst.watch != nil {
		k.tasks.Go(inst.watch.Close) // ends with the tests that run
	}
}

// Test measures the delay through an outbound or group and records it. The
// deadline of ctx bounds it. Errors: ErrNotFound, and those of the test.
func (k *Kernel) Test(ctx context.Context, name, url string, expected health.Statuses) (time.Duration, error) {
	n := k.tested(name)
	if n == nil {
		return 0, fmt.Errorf("%q: %w", name, ErrNotFound)
	}
	s := health.Spec{URL: url, Expected: expected, Timeout: left(ctx)}
	return k.tester.Test(ctx, health.Member{Name: name, Node: n, Via: k.Through(name)}, s)
}

// TestMembers tests all members of a group at once and returns the delays of
// those that answered. Each test has timeout, and ctx bounds all of them.
func (k *Kernel) TestMembers(ctx context.Context, group, url string, timeout time.Duration, expected health.Statuses) (map[string]time.Duration, error) {
	n := k.Snapshot().Nodes[group]
	if n == nil || n.Group == nil {
		return nil, fmt.Errorf("%q: %w", group, ErrNotFound)
	}
	members := (&memberView{k, n.Members.Names()}).testable()
	return k.tester.TestAll(ctx, members, health.Spec{URL: url, Expected: expected, Timeout: timeout}), nil
}

func left(ctx context.Context) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return time.Until(at)
	}
	return pinTimeout
}

// testPin tests a dead member that is about to be pinned: it may be back.
func (k *Kernel) testPin(n *dispatch.Node, member string) {
	info := k.State().Nodes[n.Name]
	if !n.Type.Has(framework.CapTested) || n.Members.Health(member, info.TestURL).Alive {
		return
	}
	ctx, cancel := context.WithTimeout(k.ctx, pinTimeout)
	defer cancel()
	if _, err := k.Test(ctx, member, info.TestURL, info.Expected); err != nil {
		k.Log.Debug("the pinned member is dead", "group", n.Name, "member", member, "err", err)
	}
}

// Picks is the number of dials through the group at n, since it was built.
func Picks(n *dispatch.Node) uint64 {
	switch g := n.Group.(type) {
	case *watched:
		return g.picks.Load()
	case watchedSelector:
		return g.picks.Load()
	}
	return 0
}

// testURL is the URL that the API shows for a group: a select group has none
// unless one is set.
func testURL(s *nodeSpec) string {
	if s.desc.Has(framework.CapTested) {
		return s.tests.URL
	}
	return s.group.URL
}

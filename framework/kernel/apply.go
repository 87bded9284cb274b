package kernel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/health"
	"github.com/culvert-proxy/culvert/framework/route"
)

// Options say how a document is applied. The zero value is a reload as a user
// means it.
type Options struct {
	// KeepPorts leaves the top-level ports, allow-lan, bind-address and the
	// lists of sources as they are in force.
	KeepPorts bool
	// CutNow ends the flows of what is taken out at once instead of letting
	// them drain.
	CutNow bool
}

var (
	errClosed  = errors.New("the kernel is closed")
	errNothing = errors.New("no document is in force")
)

// job is an apply that waits for its turn. A newer document takes the place of
// its own; all who wait for it get the same result. The queue's lock guards ctx,
// plan and opt until it is taken.
type job struct {
	ctx  context.Context
	plan *plan
	opt  Options
	done chan struct{}
	err  error // set before done closes
}

// queue holds the apply that has not begun, one at most.
type queue struct {
	mu      sync.Mutex // guards waiting
	waiting *job
}

// put makes p the plan to apply next and returns its job. The ports that an
// overtaken document was to open are opened by the one that takes its place.
func (q *queue) put(ctx context.Context, p *plan, opt Options) *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == nil {
		q.waiting = &job{opt: opt, done: make(chan struct{})}
	}
	j := q.waiting
	opt.KeepPorts = opt.KeepPorts && j.opt.KeepPorts
	opt.CutNow = opt.CutNow || j.opt.CutNow
	j.ctx, j.plan, j.opt = ctx, p, opt
	return j
}

// take is the job that waits, nil when somebody has taken it.
func (q *queue) take() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := q.waiting
	q.waiting = nil
	return j
}

// Apply puts doc in force and returns when it is. After an error, which is
// conf.Problems when the document is at fault, nothing has changed. Of several
// documents that wait for their turn only the newest is applied; the callers of
// the others get its result. A document at fault does not get that far.
func (k *Kernel) Apply(ctx context.Context, doc *configs.Document, opt Options) error {
	return k.withPlugins(ctx, doc, true, func() error { return k.applyChecked(ctx, doc, opt) })
}

func (k *Kernel) applyChecked(ctx context.Context, doc *configs.Document, opt Options) error {
	p := k.check(doc)
	if err := p.problems.Err(); err != nil {
		k.Stats.Applies.Failed.Add(1)
		return err
	}
	j := k.queue.put(ctx, p, opt)
	k.mu.Lock()
	if next := k.queue.take(); next != nil {
		next.err = k.apply(next.ctx, next.plan, next.opt)
		close(next.done)
	}
	k.mu.Unlock()
	<-j.done
	return j.err
}

// apply is build, publish, retire. The caller holds mu.
func (k *Kernel) apply(ctx context.Context, p *plan, opt Options) error {
	if k.closed {
		return errClosed
	}
	next, err := k.build(ctx, p)
	if err != nil {
		k.Stats.Applies.Failed.Add(1)
		return err
	}
	old := k.state.Load()
	st := &State{Document: p.doc, Warnings: p.problems, General: General{p.doc.Ports, p.doc.General}, Names: p.names, Nodes: infos(p, next), plan: p}
	if opt.KeepPorts && old != nil {
		st.General.keepPorts(&old.General)
	}
	k.enforce(&st.General)
	k.publish(p, next, old)
	k.startTests(p, next)
	st.ports = k.syncInbounds(ctx, &st.General, p.inbounds)
	k.state.Store(st)

	gone := k.nodes
	k.nodes = next
	for name, inst := range gone {
		if next[name] != inst {
			k.stopTests(inst)
			k.retire(inst, opt.CutNow)
		}
	}
	k.Stats.Applies.OK.Add(1)
	k.Stats.Applies.LastSuccess.Store(time.Now().Unix())
	return nil
}

// keepPorts takes over what a load without force leaves as it is.
func (g *General) keepPorts(from *General) {
	g.Ports = from.Ports
	g.AllowLAN, g.BindAddress = from.AllowLAN, from.BindAddress
	g.SkipAuthPrefixes, g.LanAllowedIPs, g.LanDisallowedIPs = from.SkipAuthPrefixes, from.LanAllowedIPs, from.LanDisallowedIPs
}

// build makes the instances of p, those that did not change being the ones in
// force. After an error what it made is closed again.
func (k *Kernel) build(ctx context.Context, p *plan) (map[string]*instance, error) {
	next := map[string]*instance{}
	var made []*instance
	for _, list := range [][]nodeSpec{p.outbounds, p.groups} {
		for i := range list {
			s := &list[i]
			if have := k.nodes[s.name]; have != nil && have.key == s.key {
				next[s.name] = have
				continue
			}
			inst := &instance{key: s.key, id: newID(), health: new(health.Node)}
			err := k.buildNode(ctx, s, inst, p.doc.Profile.StoreSelected)
			if err != nil {
				for _, inst := range made {
					closeNode(inst.node)
				}
				return nil, fmt.Errorf("%s %q: %w", s.kind, s.name, err)
			}
			made = append(made, inst)
			next[s.name] = inst
		}
	}
	return next, nil
}

// buildNode makes the node of inst; stored says whether choices on disk count.
func (k *Kernel) buildNode(ctx context.Context, s *nodeSpec, inst *instance, stored bool) error {
	if s.kind == framework.KindOutbound {
		out, err := framework.Build[framework.Outbound](ctx, s.desc, k.outboundHost(s), s.source)
		if err != nil {
			return err
		}
		inst.node = dispatch.NewOutbound(s.name, s.desc, out, k.Stats)
		return nil
	}
	g, err := framework.Build[framework.Group](ctx, s.desc, k.host(s.kind, s.name, s.desc), s.source)
	if err != nil {
		return err
	}
	g, inst.group = k.watchGroup(g)
	inst.members = &memberView{k, s.members}
	inst.node = dispatch.NewGroup(s.name, s.desc, g, inst.members)
	inst.node.NoPackets = s.group.DisableUDP
	k.restore(inst.node, stored)
	return nil
}

// restore gives a group the member that was chosen for it: the choice in force
// before the apply, else the stored one.
func (k *Kernel) restore(n *dispatch.Node, stored bool) {
	sel, ok := n.Group.(framework.Selector)
	if !ok {
		return
	}
	choice := ""
	if have := k.nodes[n.Name]; have != nil {
		if old, ok := have.node.Group.(framework.Selector); ok {
			choice = old.Selected()
		}
	}
	if choice == "" && stored {
		choice = k.Store.Selected(n.Name)
	}
	if choice != "" {
		sel.Select(choice, &memberView{k, []string{choice}}) // it counts again when such a member is there
	}
}

// publish makes the snapshot of p and puts it in force. Rules that did not
// change keep their counters.
func (k *Kernel) publish(p *plan, next map[string]*instance, old *State) {
	if old != nil && old.plan.rulesHash == p.rulesHash {
		p.rules = old.plan.rules
		enable(p.rules)
	}
	results := make(map[string]*health.Node, len(next))
	s := &dispatch.Snapshot{Rules: p.rules, Nodes: map[string]*dispatch.Node{}, Hosts: p.hosts, Resolver: ruleResolver{k},
		Geo: k.geo.View(p.doc.GeodataMode), Processes: &k.processes}
	for name, inst := range next {
		s.Nodes[name] = inst.node
		results[name] = inst.health
	}
	k.results.Store(&results)
	k.dispatcher.Publish(s)
	k.tester.Changed()
}

// enable switches all rules on again: switching off lasts until a reload.
func enable(t *route.Table) {
	for _, r := range t.Main().Rules() {
		r.SetDisabled(false)
	}
}

// retire takes an instance out: it closes with its last flow. Flows that are
// left when the drain ends are cut.
func (k *Kernel) retire(inst *instance, now bool) {
	gone := make(chan struct{})
	inst.node.Lease.Retire(func() {
		closeNode(inst.node)
		close(gone)
	})
	wait := k.Drain
	if now {
		wait = 0
	}
	k.tasks.Go(func() { k.drain(inst, gone, wait) }) // ends with the last flow, the drain, or Close
}

// A flow that is dialling when its outbound's are cut comes up later: for as
// long as a dial may take, the outbound is looked at again.
const (
	cutAgain = 500 * time.Millisecond
	cutTimes = 12
)

// drain gives the flows of inst some time and then cuts them. gone closes with
// the last one.
func (k *Kernel) drain(inst *instance, gone <-chan struct{}, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	for range cutTimes {
		select {
		case <-gone:
			return
		case <-k.ctx.Done():
			k.cut(inst)
			return
		case <-t.C:
			k.cut(inst)
			t.Reset(cutAgain)
		}
	}
}

// cut ends the flows of inst.
func (k *Kernel) cut(inst *instance) {
	if n := k.dispatcher.Kill(func(exit *dispatch.Node) bool { return exit == inst.node }); n > 0 {
		k.Log.Info("flows ended with their outbound", "outbound", inst.name, "flows", n)
	}
}

func infos(p *plan, built map[string]*instance) map[string]Info {
	m := map[string]Info{}
	for i := range p.outbounds {
		s := &p.outbounds[i]
		m[s.name] = Info{Proxy: s.proxy, ID: built[s.name].id, Health: built[s.name].health}
	}
	for i := range p.groups {
		s := &p.groups[i]
		m[s.name] = Info{Group: &s.group, Health: built[s.name].health, TestURL: testURL(s), Expected: s.tests.Expected}
	}
	return m
}

// newID is a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

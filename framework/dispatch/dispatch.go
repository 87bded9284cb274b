// Package dispatch carries one flow from its arrival to its last byte: it asks
// the rules for a target, walks groups to an outbound, dials, answers the
// client, relays, and keeps the flow's entry in stats. What is in force it
// reads from a Snapshot, which the kernel publishes.
package dispatch

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/relay"
	"github.com/culvert-proxy/culvert/framework/route"
	"github.com/culvert-proxy/culvert/framework/session"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// Mode is how targets are found.
type Mode uint32

// The modes.
const (
	ModeRule Mode = iota
	ModeGlobal
	ModeDirect
)

// ParseMode reads a mode in any letter case.
func ParseMode(s string) (Mode, bool) {
	switch strings.ToLower(s) {
	case "rule":
		return ModeRule, true
	case "global":
		return ModeGlobal, true
	case "direct":
		return ModeDirect, true
	}
	return 0, false
}

// String is the mode as files and the REST API spell it.
func (m Mode) String() string { return [...]string{"rule", "global", "direct"}[m] }

// The names that every snapshot has.
const (
	Direct = "DIRECT"
	Global = "GLOBAL"
)

// Dispatcher makes Handlers. It is made once and lives as long as the process.
type Dispatcher struct {
	stats    *stats.Stats
	log      *slog.Logger
	relay    *relay.Relay
	sessions *session.Table

	snapshot atomic.Pointer[Snapshot]
	mode     atomic.Uint32
	visits   sync.Pool // of *visit: what a flow needs until it is open
	warn     limiter
	panics   panics
}

// New makes a Dispatcher. Publish must come before the first flow.
func New(s *stats.Stats, log *slog.Logger, r *relay.Relay, t *session.Table) *Dispatcher {
	d := &Dispatcher{stats: s, log: log, relay: r, sessions: t}
	d.visits.New = func() any { return new(visit) }
	return d
}

// Publish puts s in force for flows that arrive from then on.
func (d *Dispatcher) Publish(s *Snapshot) { d.snapshot.Store(s) }

// Snapshot is what is in force.
func (d *Dispatcher) Snapshot() *Snapshot { return d.snapshot.Load() }

// Mode is how targets are found now.
func (d *Dispatcher) Mode() Mode { return Mode(d.mode.Load()) }

// SetMode changes the mode; open flows stay where they are.
func (d *Dispatcher) SetMode(m Mode) { d.mode.Store(uint32(m)) }

// Port is the Handler of one inbound.
type Port struct {
	d     *Dispatcher
	proxy string // `proxy:` of the listener: where all flows go, "" for the rules
	rules string // `rule:` of the listener: the sub-rule to walk, "" for `rules:`
}

// Port makes a Handler for an inbound with the listener options proxy and
// rule; either may be "".
func (d *Dispatcher) Port(proxy, rules string) *Port { return &Port{d, proxy, rules} }

// Kill ends the open flows for which which says so. It is how a drain that
// ran out of time ends.
func (d *Dispatcher) Kill(which func(exit *Node) bool) (killed int) {
	for _, f := range d.stats.Flows(nil) {
		if o, ok := f.Killer().(interface{ exit() *Node }); ok && which(o.exit()) {
			f.Kill()
			killed++
		}
	}
	return killed
}

// target is the list to walk for a port: nil when a name is set instead.
func (p *Port) target(s *Snapshot) (name string, list *route.List) {
	if p.proxy != "" {
		return p.proxy, nil
	}
	switch p.d.Mode() {
	case ModeDirect:
		return Direct, nil
	case ModeGlobal:
		return Global, nil
	}
	if p.rules != "" {
		if l := s.Rules.Sub(p.rules); l != nil {
			return "", l
		}
	}
	return "", s.Rules.Main()
}

// recovered is deferred at the edge of a flow: a plugin's panic ends that flow
// and no other.
func (d *Dispatcher) recovered(f *framework.Flow) {
	if r := recover(); r != nil {
		d.panicked(r, f)
	}
}

// panicked counts a panic and logs the first from each place.
func (d *Dispatcher) panicked(r any, f *framework.Flow) {
	d.stats.Refused(stats.FlowLabels{Network: f.Network.String(), Inbound: f.Inbound.Name, Reason: "panic"})
	d.logPanic(r, string(debug.Stack()), f.Inbound.Name)
}

func (d *Dispatcher) logPanic(r any, stack, inbound string) {
	if d.panics.first(stack) {
		d.log.Error("panic in a flow", "panic", r, "inbound", inbound, "stack", stack)
	}
}

// panics remembers where panics came from, so that each place is logged once.
type panics struct {
	mu   sync.Mutex // guards seen
	seen map[string]bool
}

func (p *panics) first(stack string) bool {
	place := stack
	if _, after, ok := strings.Cut(stack, "panic("); ok {
		place = after
	}
	lines := strings.SplitN(place, "\n", 6)
	if len(lines) > 3 {
		place = lines[3] // the line of the frame that panicked
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	if p.seen[place] || len(p.seen) > 100 {
		return false
	}
	p.seen[place] = true
	return true
}

// limiter lets 20 lines a second through and counts the rest; chosen: enough
// to see what is wrong, too few to fill a disk.
type limiter struct {
	mu   sync.Mutex // guards all below
	from time.Time
	sent int
	held int
}

func (l *limiter) allow(now time.Time) (ok bool, held int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.from) >= time.Second {
		held, l.held = l.held, 0
		l.from, l.sent = now, 0
	}
	if l.sent >= 20 {
		l.held += held + 1
		return false, 0
	}
	l.sent++
	return true, held
}

// through dials whatever name leads to at the time of each dial.
type through struct {
	d    *Dispatcher
	name string
}

// Through is a Dialer over the outbound or group called name: the
// `dialer-proxy` of an outbound, and the way that delay tests take.
func (d *Dispatcher) Through(name string) framework.Dialer { return through{d, name} }

func (t through) DialStream(ctx context.Context, to framework.Addr) (Conn, error) {
	ctx, n, passed, err := t.enter(ctx, framework.TCP, to)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	c, err := n.Outbound.DialStream(ctx, to)
	report(passed, n, framework.Result{Network: framework.TCP, Took: time.Since(began), Err: err})
	if err != nil {
		n.Lease.Release()
		return nil, err
	}
	return leased(c, &n.Lease), nil
}

func (t through) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	ctx, n, passed, err := t.enter(ctx, framework.UDP, to)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	c, err := n.Outbound.DialPacket(ctx, to)
	report(passed, n, framework.Result{Network: framework.UDP, Took: time.Since(began), Err: err})
	if err != nil {
		n.Lease.Release()
		return nil, err
	}
	return &leasedPacketConn{PacketConn: c, lease: &n.Lease}, nil
}

// enter finds the outbound, through the groups in passed, and takes a hold on
// it.
func (t through) enter(ctx context.Context, network framework.Network, to framework.Addr) (_ context.Context, exit *Node, passed []*Node, err error) {
	if ctx, err = nested(ctx); err != nil {
		return ctx, nil, nil, err
	}
	f := framework.Flow{Network: network, Destination: to, Inbound: framework.Origin{Type: "Inner"}}
	for snap := t.d.Snapshot(); ; {
		n, passed, err := snap.exit(t.name, &f, nil)
		if err != nil {
			return ctx, nil, nil, err
		}
		if n.Lease.Acquire() {
			return ctx, n, passed, nil
		}
		next := t.d.Snapshot()
		if next == snap { // the kernel closes: no other will come
			return ctx, nil, nil, framework.Classed(framework.ErrUnavailable, errRetired)
		}
		snap = next
	}
}

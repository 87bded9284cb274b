package dispatch

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/route"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// visit is what is found out about one flow on its way to an outbound. It is
// the router's Visitor, so that rules pull facts from it.
type visit struct {
	ctx  context.Context
	port *Port
	snap *Snapshot
	flow *framework.Flow

	to      framework.Addr // the destination behind `hosts:`
	ip      netip.Addr     // its address, when known
	inHosts bool
	owner   owner

	rule   *route.Rule // nil when no rule decided
	node   *Node       // the exit
	passed []*Node     // the groups on the way, outermost first
	err    error       // why there is no exit
}

// begin reads the destination through `hosts:`.
func (v *visit) begin(ctx context.Context, p *Port, f *framework.Flow) {
	v.ctx, v.port, v.flow, v.to, v.ip = ctx, p, f, f.Destination, f.Destination.IP
	v.snap = p.d.Snapshot()
	if v.to.Host == "" || v.snap.Hosts == nil {
		return
	}
	name, ips := v.snap.Hosts.Lookup(v.to.Host)
	v.inHosts = name != v.to.Host || len(ips) > 0
	v.to.Host = name
	if len(ips) > 0 {
		v.ip = ips[0]
	}
}

// destination is what the outbound is told: a name stays a name, unless
// `hosts:` says its address.
func (v *visit) destination() framework.Addr {
	if v.inHosts && v.ip.IsValid() {
		return framework.Addr{IP: v.ip, Port: v.to.Port}
	}
	return v.to
}

// decide finds the exit and takes a hold on it.
func (v *visit) decide(now time.Time) error {
	if v.snap.Processes != nil && v.snap.Processes.Always() {
		v.Process()
	}
	for {
		v.rule, v.node, v.err, v.passed = nil, nil, nil, v.passed[:0]
		if name, list := v.port.target(v.snap); list == nil {
			v.lead(name)
		} else if rule, _ := list.Match(v.flow, v, now); rule != nil {
			v.rule = rule
		} else {
			v.lead(Direct)
		}
		if v.err != nil {
			return v.err
		}
		if v.flow.Network == framework.UDP && !carries(v.node, v.passed) {
			return framework.Classed(framework.ErrUnsupported, errNoPackets)
		}
		if v.node.Lease.Acquire() {
			return nil
		}
		next := v.port.d.Snapshot()
		if next == v.snap { // the kernel closes: no other will come
			return framework.Classed(framework.ErrUnavailable, errRetired)
		}
		v.snap = next
	}
}

// lead walks from a name to the exit.
func (v *visit) lead(name string) {
	v.node, v.passed, v.err = v.snap.exit(name, v.flow, v.passed[:0])
}

// Host, IP, Resolve and Accept make visit a route.Visitor.

func (v *visit) Host() string { return v.to.Host }

func (v *visit) IP() (netip.Addr, bool) { return v.ip, v.ip.IsValid() }

// Resolve finds the address of a name. A failure leaves IP unknown, and rules
// that need one do not hold.
func (v *visit) Resolve() {
	if v.ip.IsValid() || v.to.Host == "" {
		return
	}
	ctx, cancel := context.WithTimeout(v.ctx, dialTimeout)
	defer cancel()
	if ips, err := v.snap.Resolver.Lookup(ctx, v.to.Host); err == nil {
		v.ip = ips[0].Unmap()
	}
}

// Accept takes a target unless it leads to a pass outbound, or the flow is UDP
// and the exit carries no packets.
func (v *visit) Accept(target string) route.Verdict {
	v.lead(target)
	switch {
	case v.err != nil:
		return route.Take // the error is the flow's: another rule would send it elsewhere unasked
	case v.node.Type.Has(framework.CapPass):
		return route.Leave
	case v.node.Type.Has(framework.CapPassRule):
		return route.Next
	case v.flow.Network == framework.UDP && !carries(v.node, v.passed):
		return route.Next
	}
	return route.Take
}

// chain is the names from the exit to the outermost group.
func (v *visit) chain() []string {
	if len(v.passed) == 0 {
		return v.node.self
	}
	c := make([]string, 0, len(v.passed)+1)
	c = append(c, v.node.Name)
	for _, g := range slices.Backward(v.passed) {
		c = append(c, g.Name)
	}
	return c
}

// fill copies what was found out into the flow's entry.
func (v *visit) fill(f *stats.Flow) {
	f.Chain = v.chain()
	if v.node.Provider != "" {
		f.Providers = make([]string, len(f.Chain))
		f.Providers[0] = v.node.Provider
	}
	if v.rule != nil {
		f.Rule, f.Payload = v.rule.Label, v.rule.Payload
	}
	f.DestinationIP = v.ip
	f.DNSMode = "normal"
	if v.inHosts {
		f.DNSMode = "hosts"
	}
	f.SpecialProxy, f.SpecialRules = v.port.proxy, v.port.rules
	if p := v.owner.process; v.owner.know {
		f.UID = uint32(max(p.UID, 0))
		if p.Path != "" {
			f.Process, f.ProcessPath = p.Name(), p.Path
		}
	}
}

// report tells the groups on the way how the dial went.
func (v *visit) report(took time.Duration, err error) {
	if len(v.passed) == 0 {
		return
	}
	report(v.passed, v.node, framework.Result{Network: v.flow.Network, Took: took, Err: err})
}

// report tells groups, the outermost first, how a dial through exit went.
func report(passed []*Node, exit *Node, r framework.Result) {
	name := exit.Name
	for _, g := range slices.Backward(passed) {
		g.Group.Report(name, r)
		name = g.Name
	}
}

// using spells the decision as the lines of /logs do.
func (v *visit) using() string {
	var b strings.Builder
	switch {
	case v.rule == nil && v.port.proxy == "" && v.port.d.Mode() == ModeRule:
		b.WriteString("doesn't match any rule using ")
	case v.rule == nil:
		b.WriteString("using ")
	case v.rule.Payload == "":
		b.WriteString("match " + v.rule.Label + " using ")
	default:
		b.WriteString("match " + v.rule.Label + "(" + v.rule.Payload + ") using ")
	}
	switch {
	case v.node == nil:
		b.WriteString("nothing")
	case len(v.passed) == 0:
		b.WriteString(v.node.Name)
	default:
		b.WriteString(v.passed[0].Name + "[" + v.node.Name + "]")
	}
	return b.String()
}

// line is the text that each new flow writes.
func (v *visit) line() string {
	return "[" + strings.ToUpper(v.flow.Network.String()) + "] " + v.flow.Source.String() + " --> " +
		v.flow.Destination.Name() + ":" + strconv.Itoa(int(v.flow.Destination.Port)) + " " + v.using()
}

func (v *visit) logOpen() {
	if v.port.d.log.Enabled(v.ctx, stats.LevelFlow) {
		v.port.d.log.Log(v.ctx, stats.LevelFlow, v.line())
	}
}

// failed counts a flow that did not open, and logs why.
func (v *visit) failed(err error) {
	labels := stats.FlowLabels{Network: v.flow.Network.String(), Inbound: v.flow.Inbound.Name, Reason: reason(err)}
	if v.node != nil {
		labels.Outbound = v.node.Name
	}
	v.port.d.stats.Refused(labels)
	v.logFailed(err)
}

// logFailed says why a flow did not open; for one that policy refused it is
// the line that every flow writes.
func (v *visit) logFailed(err error) {
	d := v.port.d
	if framework.Classify(err) == framework.ErrRejected {
		v.logOpen()
		return
	}
	if ok, held := d.warn.allow(time.Now()); ok {
		attrs := []any{"err", err}
		if held > 0 {
			attrs = append(attrs, "held_back", held)
		}
		d.log.Warn(v.line(), attrs...)
	}
}

// reason is the class of an error as a label: one of a fixed few.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if c := framework.Classify(err); c != nil {
		return c.Error()
	}
	return "error"
}

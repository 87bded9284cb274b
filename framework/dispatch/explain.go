package dispatch

import (
	"context"
	"net/netip"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/route"
)

// Query is a flow that is not there, to learn where it would go.
type Query struct {
	Flow    framework.Flow
	Address netip.Addr         // what the destination's name resolves to; without it the resolver is asked
	Process *framework.Process // whose the flow is; nil when that is not known
	Proxy   string             // `proxy:` of the listener
	Rules   string             // `rule:` of the listener
}

// Explanation is where a flow would go, and why.
type Explanation struct {
	Mode    Mode
	To      framework.Addr // the destination behind `hosts:`
	IP      netip.Addr     // the destination's address as far as rules made it known
	Steps   []Step         // nil when no rules were asked
	Rule    *route.Rule    // nil when no rule decided
	Target  string         // where the rule, the mode or the listener sends the flow
	Chain   []string       // from the exit to the outermost group, nil without an exit
	Dropped bool           // a packet whose name does not resolve: no rule sees it
	Err     error          // why there is no exit
	Took    time.Duration
}

// Step is a step of the rules, and where its target leads.
type Step struct {
	route.Step
	Chain []string   // where the rule holds: from the exit to the outermost group
	IP    netip.Addr // where the name was resolved: its address, zero for a failure
	Err   error      // why the target has no exit
}

// Explain says where a flow would go. It dials nothing and counts nothing;
// groups are asked for a member as for any flow.
func (d *Dispatcher) Explain(ctx context.Context, q Query) Explanation {
	began := time.Now()
	v := &imagined{query: &q}
	v.begin(ctx, d.Port(q.Proxy, q.Rules), &q.Flow)
	e := Explanation{Mode: d.Mode(), To: v.to}
	name, list := v.port.target(v.snap)
	switch {
	case list == nil:
		e.Target = name
		v.lead(name)
	case q.Flow.Network == framework.UDP && !v.resolved():
		e.Dropped, e.Err = true, framework.Classed(framework.ErrUnreachable, errNoAddress)
		return e
	default:
		e.Rule, e.Target = list.Explain(&q.Flow, v, func(s route.Step) {
			if s.Outcome != route.Resolved || v.asked {
				e.Steps = append(e.Steps, v.step(s))
			}
		})
		if e.Rule == nil {
			e.Target = Direct
			v.lead(Direct)
		}
	}
	e.IP, e.Err = v.ip, v.err
	if v.node != nil && v.err == nil {
		e.Chain = v.chain()
	}
	if e.Err == nil && q.Flow.Network == framework.UDP && !carries(v.node, v.passed) {
		e.Err = framework.Classed(framework.ErrUnsupported, errNoPackets)
	}
	e.Took = time.Since(began)
	return e
}

// imagined is the visit of a flow that is not there.
type imagined struct {
	visit
	query *Query
	asked bool // there was a name to resolve
}

// Resolve takes the address that the query gives.
func (v *imagined) Resolve() {
	v.asked = v.to.Host != "" && !v.ip.IsValid()
	if v.asked && v.query.Address.IsValid() {
		v.ip = v.query.Address.Unmap()
		return
	}
	v.visit.Resolve()
}

// resolved resolves the name, as packets do before any rule.
func (v *imagined) resolved() bool {
	v.Resolve()
	return v.ip.IsValid()
}

// Process implements framework.ProcessFacts.
func (v *imagined) Process() (framework.Process, bool) {
	if v.query.Process == nil {
		return framework.Process{}, false
	}
	return *v.query.Process, true
}

// step adds to s what the visit learned by it.
func (v *imagined) step(s route.Step) Step {
	out := Step{Step: s}
	switch s.Outcome {
	case route.Resolved:
		out.IP = v.ip
	case route.Taken, route.Passed, route.Left:
		if out.Err = v.err; v.err == nil && v.node != nil {
			out.Chain = v.chain()
		}
	}
	return out
}

package control

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/kernel"
)

// Proxies are all outbounds and groups, as rest.Proxies.
func (c *Controller) Proxies() []rest.Proxy {
	snap, st := c.Kernel.Snapshot(), c.Kernel.State()
	list := make([]rest.Proxy, 0, len(snap.Nodes))
	for _, n := range snap.Nodes {
		list = append(list, show(snap, st, n))
	}
	return list
}

// Proxy finds one by name.
func (c *Controller) Proxy(name string) (rest.Proxy, bool) {
	snap := c.Kernel.Snapshot()
	n := snap.Nodes[name]
	if n == nil {
		return rest.Proxy{}, false
	}
	return show(snap, c.Kernel.State(), n), true
}

// show is a node as the API spells it. A node that the state does not have
// yet, in the moment of an apply, shows its defaults.
func show(snap *dispatch.Snapshot, st *kernel.State, n *dispatch.Node) rest.Proxy {
	info := st.Nodes[n.Name]
	p := rest.Proxy{
		Name: n.Name, Type: n.Type.Label, UDP: snap.CarriesPackets(n.Name), Alive: true,
		TFO: info.Proxy.TFO, MPTCP: info.Proxy.MPTCP, Interface: info.Proxy.InterfaceName,
		RoutingMark: info.Proxy.RoutingMark, DialerProxy: info.Proxy.DialerProxy, ProviderName: n.Provider, ID: info.ID,
	}
	if info.Health != nil {
		p.Alive, p.History, p.Extra = info.Health.Alive(), delays(info.Health.Tests()), byURL(info.Health.URLs())
	}
	if n.Group == nil {
		return p
	}
	p.ID = ""
	p.Group = &rest.Group{All: n.Members.Names(), Now: snap.Now(n.Name), ExpectedStatus: "*", Picks: kernel.Picks(n)}
	if g := info.Group; g != nil {
		p.Group.Hidden, p.Group.Icon, p.Group.TestURL = g.Hidden, g.Icon, info.TestURL
		p.Group.ExpectedStatus = cmp.Or(g.ExpectedStatus, "*")
		p.Group.EmptyFallback = g.EmptyFallback
		p.Group.OnlyProviders = len(g.Proxies) == 0
	}
	if s, ok := n.Group.(framework.Selector); ok && n.Type.Label != "Selector" {
		p.Group.Fixed = s.Selected()
	}
	return p
}

// Select chooses a member, as rest.Selector.
func (c *Controller) Select(_ context.Context, group, member string) error {
	return selectError(c.Kernel.Select(group, member))
}

// Unfix clears a pin, as rest.Selector. A select group has none.
func (c *Controller) Unfix(group string) error {
	err := c.Kernel.Unpin(group)
	if errors.Is(err, kernel.ErrNotSelector) {
		return rest.ErrNotFixable
	}
	return selectError(err)
}

// Rules are the rules in force, as rest.Rules.
func (c *Controller) Rules() []rest.Rule {
	main := c.Kernel.Snapshot().Rules.Main()
	rules, counters := main.Rules(), main.Counters()
	list := make([]rest.Rule, len(rules))
	for i, r := range rules {
		n := counters[i]
		list[i] = rest.Rule{Type: r.Label, Payload: r.Payload, Target: r.Target, Size: r.Size(), Disabled: r.Disabled(),
			Hits: n.Hits, HitAt: at(n.HitAt), Misses: n.Misses, MissAt: at(n.MissAt)}
	}
	return list
}

func at(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// DisableRules switches rules off and on, as rest.Rules.
func (c *Controller) DisableRules(off map[int]bool) {
	c.Kernel.Snapshot().Rules.Main().Disable(off)
}

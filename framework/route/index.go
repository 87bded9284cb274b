package route

import (
	"net/netip"
	"slices"

	"github.com/culvert-proxy/culvert/framework"
)

// indexable is how a condition stands in the index.
type indexable struct {
	// keys, when keyed: unless one of them holds, the condition does not, and
	// testing it would look at nothing but what keys look at.
	keys  []framework.Key
	keyed bool
	exact bool // keyed, and the condition holds whenever a key does
	pure  bool // testing it looks at nothing but what keys look at
}

// indexRule is for a rule plugin. Keys that the router does not know leave the
// rule out of the index.
func indexRule(r framework.Rule) indexable {
	x, ok := r.(framework.Indexer)
	if !ok {
		return indexable{}
	}
	keys := x.Index()
	if len(keys) == 0 || slices.ContainsFunc(keys, unknown) {
		return indexable{}
	}
	return indexable{keys: keys, keyed: true, exact: true, pure: true}
}

func unknown(k framework.Key) bool {
	switch k.Fact {
	case framework.FactDestination, framework.FactSource:
		return !k.Prefix.IsValid()
	}
	return k.Fact < framework.FactHost || k.Fact > framework.FactNetwork
}

// indexAny is for OR: the keys of all. Of nothing it is what never holds.
func indexAny(children []compiled) indexable {
	x := indexable{keyed: true, exact: true, pure: true}
	for _, c := range children {
		x.keys = append(x.keys, c.index.keys...)
		x.keyed = x.keyed && c.index.keyed
		x.exact = x.exact && c.index.exact
		x.pure = x.pure && c.index.pure
	}
	if !x.keyed {
		return indexable{pure: x.pure}
	}
	return x
}

// indexAll is for AND: the keys of one that must hold, the one that fewest
// flows meet. Those behind a child that looks at more than keys do are left
// alone: it is asked even when they do not hold.
func indexAll(children []compiled) indexable {
	x := indexable{pure: true}
	for _, c := range children {
		if x.pure && c.index.keyed && (!x.keyed || broadest(c.index.keys) < broadest(x.keys)) {
			x.keys, x.keyed = c.index.keys, true
		}
		x.pure = x.pure && c.index.pure
	}
	if len(children) == 1 {
		x.exact = children[0].index.exact
	}
	return x
}

// broadest is the fact of keys that tells the fewest flows apart.
func broadest(keys []framework.Key) (worst framework.Fact) {
	for _, k := range keys {
		worst = max(worst, k.Fact)
	}
	return worst
}

// maxTables is one for each fact; both facts on hosts share one.
const maxTables = int(framework.FactNetwork) - 1

// index finds the rules of a list that hold for a flow. Rules are known by
// their numbers in the list.
type index struct {
	tables []table
	lows   []int32 // by table: the lowest rule in it
	byIP   int     // the table that looks at Facts.IP, -1 when there is none
	asked  []int32 // the rules that are in no table
	needs  []int32 // the rules before which a name is resolved
}

func newIndex(rules []*Rule) *index {
	x, parts := &index{byIP: -1}, parts{}
	for i, r := range rules {
		n := int32(i)
		if r.needIP {
			x.needs = append(x.needs, n)
		}
		if !r.keyed {
			x.asked = append(x.asked, n)
		}
		for _, k := range r.keys {
			parts.add(k, n)
		}
		r.keys = nil // the tables have them
	}
	x.asked, x.needs = slices.Clip(x.asked), slices.Clip(x.needs)
	parts.build(x)
	return x
}

// parts is an index that is being made, by fact.
type parts struct {
	used  [maxTables + 2]bool
	low   [maxTables + 2]int32
	hosts hostTable
	texts [maxTables + 2]textTable
	v4    [maxTables + 2][]span
	v6    [maxTables + 2][]span // and numbers
}

func (p *parts) add(k framework.Key, rule int32) {
	f := k.Fact
	if f == framework.FactHostSuffix {
		f = framework.FactHost
	}
	if !p.used[f] {
		p.used[f], p.low[f] = true, rule
	}
	switch f {
	case framework.FactHost:
		p.hosts.add(k, rule)
	case framework.FactUser, framework.FactInbound:
		p.texts[f].add(k, rule)
	case framework.FactDestination, framework.FactSource:
		if s := prefixSpan(k.Prefix, rule); k.Prefix.Addr().Is4() {
			p.v4[f] = append(p.v4[f], s)
		} else {
			p.v6[f] = append(p.v6[f], s)
		}
	default:
		if k.Low <= k.High {
			p.v6[f] = append(p.v6[f], span{wide{lo: uint64(k.Low)}, wide{lo: uint64(k.High)}, rule})
		}
	}
}

// build makes the tables that have keys.
func (p *parts) build(x *index) {
	for f := framework.FactHost; f <= framework.FactNetwork; f++ {
		if !p.used[f] {
			continue
		}
		if f == framework.FactDestination {
			x.byIP = len(x.tables)
		}
		x.tables = append(x.tables, p.table(f))
		x.lows = append(x.lows, p.low[f])
	}
}

func (p *parts) table(f framework.Fact) table {
	switch f {
	case framework.FactHost:
		return &p.hosts
	case framework.FactUser, framework.FactInbound:
		t := p.texts[f]
		t.of = textOf(f)
		return &t
	case framework.FactDestination, framework.FactSource:
		return &addressTable{of: addressOf(f), v4: newSpans(p.v4[f]), v6: newSpans(p.v6[f])}
	}
	return &numberTable{of: numberOf(f), spans: newSpans(p.v6[f])}
}

func textOf(f framework.Fact) func(*framework.Flow) string {
	if f == framework.FactUser {
		return func(f *framework.Flow) string { return f.Inbound.User }
	}
	return func(f *framework.Flow) string { return f.Inbound.Name }
}

func addressOf(f framework.Fact) func(*framework.Flow, framework.Facts) netip.Addr {
	if f == framework.FactSource {
		return func(f *framework.Flow, _ framework.Facts) netip.Addr { return f.Source.Addr() }
	}
	return func(_ *framework.Flow, facts framework.Facts) netip.Addr {
		ip, _ := facts.IP()
		return ip
	}
}

func numberOf(f framework.Fact) func(*framework.Flow) uint16 {
	switch f {
	case framework.FactDestinationPort:
		return func(f *framework.Flow) uint16 { return f.Destination.Port }
	case framework.FactSourcePort:
		return func(f *framework.Flow) uint16 { return f.Source.Port() }
	case framework.FactInboundPort:
		return func(f *framework.Flow) uint16 { return f.Inbound.Local.Port() }
	case framework.FactDSCP:
		return func(f *framework.Flow) uint16 { return uint16(f.DSCP) }
	}
	return func(f *framework.Flow) uint16 { return uint16(f.Network) }
}

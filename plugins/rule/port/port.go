// Package port has the rules that look at ports: SRC-PORT, DST-PORT and
// IN-PORT (config-rules.md §2).
package port

import (
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ranges"
)

// Descriptors describes the rules of the family.
func Descriptors() []framework.Descriptor {
	return []framework.Descriptor{
		describe("SRC-PORT", "SrcPort", "the source's port is in these ranges", framework.FactSourcePort,
			func(f *framework.Flow) uint16 { return f.Source.Port() }),
		describe("DST-PORT", "DstPort", "the destination's port is in these ranges", framework.FactDestinationPort,
			func(f *framework.Flow) uint16 { return f.Destination.Port }),
		describe("IN-PORT", "InPort", "the inbound's port is in these ranges", framework.FactInboundPort,
			func(f *framework.Flow) uint16 { return f.Inbound.Local.Port() }),
	}
}

func describe(keyword, label, summary string, fact framework.Fact, port func(*framework.Flow) uint16) framework.Descriptor {
	build := func(a framework.RuleArgs) (framework.Rule, error) {
		set, err := ranges.Parse(a.Payload, 65535)
		return rule{set, fact, port}, err
	}
	return framework.NewRule(keyword, label, build,
		framework.WithSummary(summary), framework.WithStability(framework.Beta))
}

type rule struct {
	set  ranges.Set
	fact framework.Fact
	port func(*framework.Flow) uint16
}

// Match implements framework.Rule.
func (r rule) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return r.set.Has(r.port(f)), nil
}

// Index implements framework.Indexer.
func (r rule) Index() (keys []framework.Key) {
	for low, high := range r.set.All() {
		keys = append(keys, framework.Key{Fact: r.fact, Low: low, High: high})
	}
	return keys
}

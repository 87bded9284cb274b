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
		describe("SRC-PORT", "SrcPort", "the source's port is in these ranges",
			func(f *framework.Flow) uint16 { return f.Source.Port() }),
		describe("DST-PORT", "DstPort", "the destination's port is in these ranges",
			func(f *framework.Flow) uint16 { return f.Destination.Port }),
		describe("IN-PORT", "InPort", "the inbound's port is in these ranges",
			func(f *framework.Flow) uint16 { return f.Inbound.Local.Port() }),
	}
}

func describe(keyword, label, summary string, port func(*framework.Flow) uint16) framework.Descriptor {
	build := func(a framework.RuleArgs) (framework.Rule, error) {
		set, err := ranges.Parse(a.Payload, 65535)
		return rule{set, port}, err
	}
	return framework.NewRule(keyword, label, build,
		framework.WithSummary(summary), framework.WithStability(framework.Beta))
}

type rule struct {
	set  ranges.Set
	port func(*framework.Flow) uint16
}

// Match implements framework.Rule.
func (r rule) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return r.set.Has(r.port(f)), nil
}

// Package dscp has the rule DSCP, which looks at the differentiated services
// mark of a flow's packets (config-rules.md §2).
package dscp

import (
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ranges"
)

const largest = 63 // six bits, RFC 2474 §3

// Descriptors describes the rule.
func Descriptors() []framework.Descriptor {
	return []framework.Descriptor{framework.NewRule("DSCP", "DSCP", build,
		framework.WithSummary("the packets' DSCP mark is in these ranges"), framework.WithStability(framework.Beta))}
}

type rule struct{ ranges.Set }

func build(a framework.RuleArgs) (framework.Rule, error) {
	set, err := ranges.Parse(a.Payload, largest)
	return rule{set}, err
}

// Match implements framework.Rule.
func (r rule) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return r.Has(uint16(f.DSCP)), nil
}

// Index implements framework.Indexer.
func (r rule) Index() (keys []framework.Key) {
	for low, high := range r.All() {
		keys = append(keys, framework.Key{Fact: framework.FactDSCP, Low: low, High: high})
	}
	return keys
}

// Package match has the rule MATCH, which always holds (config-rules.md §2).
package match

import "github.com/culvert-proxy/culvert/framework"

// Descriptors describes the rule.
func Descriptors() []framework.Descriptor {
	return []framework.Descriptor{framework.NewRule("MATCH", "Match", build,
		framework.WithSummary("always holds"), framework.WithStability(framework.Beta))}
}

type rule struct{}

// build takes any payload: `MATCH,foo,DIRECT` loads in the peer, too.
func build(framework.RuleArgs) (framework.Rule, error) { return rule{}, nil }

// Match implements framework.Rule.
func (rule) Match(*framework.Flow, framework.Facts) (bool, error) { return true, nil }

// PayloadText implements framework.PayloadTexter.
func (rule) PayloadText() string { return "" }

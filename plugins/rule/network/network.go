// Package network has the rule NETWORK, which tells TCP from UDP
// (config-rules.md §2).
package network

import (
	"fmt"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// Descriptors describes the rule.
func Descriptors() []framework.Descriptor {
	return []framework.Descriptor{framework.NewRule("NETWORK", "Network", build,
		framework.WithSummary("the flow is tcp, or udp"), framework.WithStability(framework.Beta))}
}

type rule struct{ n framework.Network }

func build(a framework.RuleArgs) (framework.Rule, error) {
	switch strings.ToLower(strings.TrimSpace(a.Payload)) {
	case "tcp":
		return rule{framework.TCP}, nil
	case "udp":
		return rule{framework.UDP}, nil
	}
	return nil, fmt.Errorf("network %q is neither tcp nor udp", a.Payload)
}

// Match implements framework.Rule.
func (r rule) Match(f *framework.Flow, _ framework.Facts) (bool, error) { return f.Network == r.n, nil }

// Index implements framework.Indexer.
func (r rule) Index() []framework.Key {
	return []framework.Key{{Fact: framework.FactNetwork, Low: uint16(r.n), High: uint16(r.n)}}
}

// PayloadText implements framework.PayloadTexter.
func (r rule) PayloadText() string { return r.n.String() }

package configs

import (
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// RuleLine is one line of rules, split.
type RuleLine struct {
	Type    string // upper case
	Payload string
	Target  string
	Params  []string
	Node    conf.Node
}

// ParseRule splits the rule line at n.
func ParseRule(n conf.Node) (RuleLine, conf.Problems) { return RuleLine{}, nil }

// Args is what the rule's plugin is built from.
func (r RuleLine) Args() framework.RuleArgs {
	return framework.RuleArgs{Payload: r.Payload, Params: r.Params}
}

// Source gives the line to the Descriptor of its type.
func (r RuleLine) Source() framework.Source { return nil }

package configs

import (
	"fmt"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// RuleLine is one line of rules, split. Target is a proxy, a group or a
// built-in; of a SUB-RULE line it is the name of a list of sub-rules.
type RuleLine struct {
	Type    string // upper case
	Payload string
	Target  string
	Params  []string
	Node    conf.Node
}

// greedyTypes take all between type and target as payload, commas included,
// and have no parameters.
var greedyTypes = map[string]bool{
	"AND": true, "OR": true, "NOT": true, "SUB-RULE": true,
	"DOMAIN-REGEX": true, "PROCESS-NAME-REGEX": true, "PROCESS-PATH-REGEX": true,
}

// ruleParams is the parameters that some rule reads.
var ruleParams = []string{"no-resolve", "src"}

// ParseRule splits the line TYPE,payload,target[,params] at n. It knows the
// grammar only; whether type and target exist is for the caller to check.
func ParseRule(n conf.Node) (RuleLine, conf.Problems) {
	text, ok := n.Text()
	if !ok {
		return RuleLine{Node: n}, conf.Problems{n.Errorf("want a rule TYPE,payload,target, got %s", n.Kind())}
	}
	return parseRule(n, text)
}

func parseRule(n conf.Node, text string) (RuleLine, conf.Problems) {
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	r := RuleLine{Type: strings.ToUpper(parts[0]), Node: n}
	last := len(parts) - 1
	switch {
	case last == 0:
		return r, conf.Problems{r.Errorf("want TYPE,payload,target")}
	case r.Type == "MATCH":
		r.Target = parts[1]
		return r, r.check(parts[2:], "is ignored: nothing follows the target of MATCH")
	case last == 1:
		return r, conf.Problems{r.Errorf("has no payload: want %s,payload,target", r.Type)}
	case greedyTypes[r.Type]:
		r.Payload, r.Target = strings.Join(parts[1:last], ","), parts[last]
		return r, r.check(nil, "")
	}
	r.Payload, r.Target = parts[1], parts[2]
	var ignored []string
	for _, p := range parts[3:] {
		if p == ruleParams[0] || p == ruleParams[1] {
			r.Params = append(r.Params, p)
		} else {
			ignored = append(ignored, p)
		}
	}
	return r, r.check(ignored, "is ignored: no such parameter")
}

// check finds what the line lacks, and warns of the fields that are ignored.
func (r RuleLine) check(ignored []string, why string) conf.Problems {
	var out conf.Problems
	if r.Type == "" {
		out = append(out, r.Errorf("has no type: want TYPE,payload,target"))
	}
	if r.Payload == "" && r.Type != "MATCH" {
		out = append(out, r.Errorf("has no payload: want %s,payload,target", r.Type))
	}
	if r.Target == "" {
		out = append(out, r.Errorf("has no target"))
	}
	for _, p := range ignored {
		out = append(out, r.Warnf("%q %s%s", p, why, didYouMean(p, ruleParams)))
	}
	return out
}

// String is the line without target and parameters: TYPE,payload.
func (r RuleLine) String() string {
	if r.Payload == "" {
		return r.Type
	}
	return r.Type + "," + r.Payload
}

// Errorf is an error about the line: rules[12] IP-CIDR,10.0.0.0/33: …
func (r RuleLine) Errorf(format string, a ...any) conf.Problem {
	return r.named(r.Node.Errorf(format, a...))
}

// Warnf is a warning about the line.
func (r RuleLine) Warnf(format string, a ...any) conf.Problem {
	return r.named(r.Node.Warnf(format, a...))
}

func (r RuleLine) named(p conf.Problem) conf.Problem {
	p.Subject = p.Path + " " + r.String()
	return p
}

// Args is what the rule's plugin is built from.
func (r RuleLine) Args() framework.RuleArgs {
	return framework.RuleArgs{Payload: r.Payload, Params: r.Params}
}

// Source gives the line to the Descriptor of its type.
func (r RuleLine) Source() framework.Source { return ruleSource{r} }

type ruleSource struct{ r RuleLine }

// Decode fills RuleArgs; a rule has no other configuration.
func (s ruleSource) Decode(into any) error {
	args, ok := into.(*framework.RuleArgs)
	if !ok {
		return fmt.Errorf("rule %s: cannot decode into %T", s.r.Type, into)
	}
	*args = s.r.Args()
	return nil
}

package conformance

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// ends is a rule that holds for hosts with an ending.
type ends string

func (e ends) Match(_ *framework.Flow, f framework.Facts) (bool, error) {
	return strings.HasSuffix(f.Host(), string(e)), nil
}

// judge is a rule that is a function.
type judge func(*framework.Flow, framework.Facts) (bool, error)

func (j judge) Match(fl *framework.Flow, f framework.Facts) (bool, error) { return j(fl, f) }

func ruleDescriptor(build func(framework.RuleArgs) (framework.Rule, error)) framework.Descriptor {
	return framework.NewRule("ENDS", "Ends", build, framework.WithSummary("the host ends with this text"))
}

func buildEnds(a framework.RuleArgs) (framework.Rule, error) {
	if a.Payload == "" {
		return nil, errors.New("payload is empty")
	}
	return ends(a.Payload), nil
}

func endsCase() RuleCase {
	return RuleCase{Payload: ".test", Holds: []Asked{{Host: "a.test"}}, Fails: []Asked{{Host: "a.example"}, {}}, Wrong: []string{""}}
}

func TestRightRulePasses(t *testing.T) {
	Rule(t, ruleDescriptor(buildEnds), endsCase())
}

func TestEachCheckOfARuleFindsItsFlaw(t *testing.T) {
	t.Parallel()
	always := func(j judge) func(framework.RuleArgs) (framework.Rule, error) {
		return func(framework.RuleArgs) (framework.Rule, error) { return j, nil }
	}
	var asked atomic.Int64
	list := []struct {
		check, says string
		build       func(framework.RuleArgs) (framework.Rule, error)
	}{
		{"the payload is accepted", "not today", func(framework.RuleArgs) (framework.Rule, error) { return nil, errors.New("not today") }},
		{"a wrong payload is refused with a reason", "want an error of both", func(a framework.RuleArgs) (framework.Rule, error) { return ends(a.Payload), nil }},
		{"a wrong payload is refused with a reason", "has no text", func(a framework.RuleArgs) (framework.Rule, error) { return nil, errors.New(" ") }},
		{"the rule holds where it should", "want false", always(func(*framework.Flow, framework.Facts) (bool, error) { return true, nil })},
		{"the answer is the same again and from many goroutines", "got", always(func(*framework.Flow, framework.Facts) (bool, error) {
			return asked.Add(1)%3 == 0, nil
		})},
		{"a flow of which nothing is known has an answer", "panic", always(func(_ *framework.Flow, f framework.Facts) (bool, error) {
			return f.Host()[0] == 'a', nil
		})},
		{"the flow stays as it was", "wrote to the flow", always(func(f *framework.Flow, _ framework.Facts) (bool, error) {
			f.DSCP = 7
			return true, nil
		})},
	}
	found := map[string]bool{}
	for _, b := range list {
		row := broken{check: b.check, says: b.says}
		c := find(t, ruleChecks(), b.check)
		found[c.name] = true
		t.Run(b.check+"/"+b.says, func(t *testing.T) {
			t.Parallel()
			s := &subject{d: ruleDescriptor(b.build), rule: endsCase(), short: true, pace: hasty}
			row.failed(t, s.perform(s.ways()[0], c))
		})
	}
	for _, c := range ruleChecks() {
		if !found[c.name] && !strings.HasPrefix(c.name, "speed/") && !strings.HasPrefix(c.name, "description/") {
			t.Errorf("no broken rule shows that %q can fail", c.name)
		}
	}
}

package dscp

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestConformance(t *testing.T) {
	marked := func(mark uint8) []conformance.Asked {
		return []conformance.Asked{{Flow: framework.Flow{DSCP: mark}}}
	}
	for keyword, c := range map[string]conformance.RuleCase{
		"DSCP": {Payload: "0-3/46", Holds: marked(46), Fails: marked(4), Wrong: []string{"", "64", "x"}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

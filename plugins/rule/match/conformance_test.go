package match

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestConformance(t *testing.T) {
	for keyword, c := range map[string]conformance.RuleCase{
		"MATCH": {Holds: []conformance.Asked{{}, {Host: "a.test", Flow: framework.Flow{Network: framework.UDP}}}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

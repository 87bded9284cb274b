package network

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestConformance(t *testing.T) {
	over := func(n framework.Network) []conformance.Asked {
		return []conformance.Asked{{Flow: framework.Flow{Network: n}}}
	}
	for keyword, c := range map[string]conformance.RuleCase{
		"NETWORK": {Payload: "udp", Holds: over(framework.UDP), Fails: over(framework.TCP), Wrong: []string{"", "icmp"}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

package port

import (
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

// IN-PORT is left out: the flow of proto v1 has no address of the inbound.
func TestConformance(t *testing.T) {
	flow := func(source, destination uint16) []conformance.Asked {
		at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port) }
		return []conformance.Asked{{Flow: framework.Flow{Source: at(source), Destination: framework.AddrFrom(at(destination))}}}
	}
	for keyword, c := range map[string]conformance.RuleCase{
		"SRC-PORT": {Payload: "1000-2000", Holds: flow(1500, 1), Fails: flow(1, 1500), Wrong: []string{"", "65536", "x"}},
		"DST-PORT": {Payload: "80/443", Holds: flow(1, 443), Fails: flow(443, 1), Wrong: []string{"", "65536", "x"}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

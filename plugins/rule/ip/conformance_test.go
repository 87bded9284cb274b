package ip

import (
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestConformance(t *testing.T) {
	to := func(s string) []conformance.Asked {
		ip := netip.MustParseAddr(s)
		return []conformance.Asked{{IP: ip, Flow: framework.Flow{Destination: framework.Addr{IP: ip, Port: 53}}}}
	}
	from := func(s string) []conformance.Asked {
		return []conformance.Asked{{Flow: framework.Flow{Source: netip.AddrPortFrom(netip.MustParseAddr(s), 1)}}}
	}
	for keyword, c := range map[string]conformance.RuleCase{
		"IP-CIDR":       {Payload: "192.0.2.0/24", Holds: to("192.0.2.7"), Fails: to("2001:db8::1"), Wrong: []string{"", "192.0.2.1", "a/8"}},
		"IP-CIDR6":      {Payload: "2001:db8::/32", Holds: to("2001:db8::1"), Fails: to("192.0.2.7"), Wrong: []string{"", "a/8"}},
		"SRC-IP-CIDR":   {Payload: "10.0.0.0/8", Holds: from("10.1.2.3"), Fails: from("11.1.2.3"), Wrong: []string{"", "10.0.0.0/33"}},
		"IP-SUFFIX":     {Payload: "0.0.0.7/8", Holds: to("192.0.2.7"), Fails: to("192.0.2.8"), Wrong: []string{"", "7"}},
		"SRC-IP-SUFFIX": {Payload: "0.0.0.7/8", Holds: from("192.0.2.7"), Fails: from("192.0.2.8"), Wrong: []string{"", "7"}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

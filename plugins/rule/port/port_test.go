package port

import (
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestLabelsAreTheAPIs(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{"SRC-PORT": "SrcPort", "DST-PORT": "DstPort", "IN-PORT": "InPort"})
}

func TestEachRuleLooksAtItsPort(t *testing.T) {
	t.Parallel()
	var ip netip.Addr
	flows := map[string]*framework.Flow{
		"SRC-PORT": {Source: netip.AddrPortFrom(ip, 85)},
		"DST-PORT": {Destination: framework.Addr{Port: 85}},
		"IN-PORT":  {Inbound: framework.Origin{Local: netip.AddrPortFrom(ip, 85)}},
	}
	for _, d := range Descriptors() {
		r := ruletest.Build(t, d, "80-90/443")
		for keyword, f := range flows {
			if got := ruletest.Match(t, r, f, ruletest.Facts{}); got != (keyword == d.Type) {
				t.Errorf("%s on the port of %s: got %v", d.Type, keyword, got)
			}
		}
		if got := ruletest.Payload(r, "80-90/443"); got != "80-90/443" {
			t.Errorf("%s: got payload %q", d.Type, got)
		}
	}
}

func TestWhatIsNoPortIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		ruletest.Refuse(t, d, "", "*", "http", "65536", "90-80", "1-70000")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	for _, d := range Descriptors() {
		ruletest.NoAllocs(t, ruletest.Build(t, d, "80-90/443"), &framework.Flow{}, &ruletest.Facts{})
	}
}

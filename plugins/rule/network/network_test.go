package network

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestNetworkMatches(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{"NETWORK": "Network"})
	d := Descriptors()[0]
	for payload, want := range map[string]framework.Network{"tcp": framework.TCP, " UDP ": framework.UDP, "Tcp": framework.TCP} {
		r := ruletest.Build(t, d, payload)
		for _, n := range []framework.Network{framework.TCP, framework.UDP} {
			if got := ruletest.Match(t, r, &framework.Flow{Network: n}, ruletest.Facts{}); got != (n == want) {
				t.Errorf("%s on %s: got %v", payload, n, got)
			}
		}
		if got := ruletest.Payload(r, payload); got != want.String() {
			t.Errorf("%s: got payload %q, want %q", payload, got, want)
		}
	}
	ruletest.Refuse(t, d, "", "icmp", "tcp/udp", "tcp,udp")
}

func TestMatchDoesNotAllocate(t *testing.T) {
	ruletest.NoAllocs(t, ruletest.Build(t, Descriptors()[0], "tcp"), &framework.Flow{}, &ruletest.Facts{})
}

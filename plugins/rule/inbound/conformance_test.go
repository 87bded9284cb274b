package inbound

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestConformance(t *testing.T) {
	from := func(o framework.Origin) []conformance.Asked {
		return []conformance.Asked{{Flow: framework.Flow{Inbound: o}}}
	}
	for keyword, c := range map[string]conformance.RuleCase{
		"IN-TYPE": {Payload: "socks/tun", Holds: from(framework.Origin{Type: "Socks5"}), Fails: from(framework.Origin{Type: "HTTP"}), Wrong: []string{"", "x"}},
		"IN-NAME": {Payload: "office", Holds: from(framework.Origin{Name: "office"}), Fails: from(framework.Origin{Name: "home"}), Wrong: []string{"", "/"}},
		"IN-USER": {Payload: "alice/bob", Holds: from(framework.Origin{User: "bob"}), Fails: from(framework.Origin{User: "eve"}), Wrong: []string{"", "a/"}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

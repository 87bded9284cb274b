package domain

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestConformance(t *testing.T) {
	host := func(s string) []conformance.Asked {
		return []conformance.Asked{{Host: s, Flow: framework.Flow{Network: framework.TCP, Destination: framework.Addr{Host: s, Port: 443}}}}
	}
	for keyword, c := range map[string]conformance.RuleCase{
		"DOMAIN":          {Payload: "example.com", Holds: host("example.com"), Fails: host("www.example.com"), Wrong: []string{"", "."}},
		"DOMAIN-SUFFIX":   {Payload: "example.com", Holds: host("www.example.com"), Fails: host("notexample.com"), Wrong: []string{"", "."}},
		"DOMAIN-KEYWORD":  {Payload: "goo", Holds: host("google.com"), Fails: host("example.com"), Wrong: []string{""}},
		"DOMAIN-REGEX":    {Payload: `^a+\.test$`, Holds: host("aa.test"), Fails: host("b.test"), Wrong: []string{"", "("}},
		"DOMAIN-WILDCARD": {Payload: "*.test", Holds: host("a.test"), Fails: host("a.com"), Wrong: []string{""}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

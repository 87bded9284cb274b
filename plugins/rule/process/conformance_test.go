package process

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

// TestConformance asks about flows without a program: a rule in another
// process never knows one. What holds is tested beside it.
func TestConformance(t *testing.T) {
	unknown := []conformance.Asked{{}, {Host: "a.test"}}
	for keyword, c := range map[string]conformance.RuleCase{
		"PROCESS-NAME":          {Payload: "curl", Fails: unknown, Wrong: []string{""}},
		"PROCESS-PATH":          {Payload: "/usr/bin/curl", Fails: unknown, Wrong: []string{""}},
		"PROCESS-NAME-REGEX":    {Payload: "^c", Fails: unknown, Wrong: []string{"", "("}},
		"PROCESS-PATH-REGEX":    {Payload: "/curl$", Fails: unknown, Wrong: []string{"", "("}},
		"PROCESS-NAME-WILDCARD": {Payload: "c*", Fails: unknown, Wrong: []string{""}},
		"PROCESS-PATH-WILDCARD": {Payload: "/usr/*", Fails: unknown, Wrong: []string{""}},
	} {
		t.Run(keyword, func(t *testing.T) {
			conformance.Rule(t, ruletest.Descriptor(t, Descriptors(), keyword), c)
		})
	}
}

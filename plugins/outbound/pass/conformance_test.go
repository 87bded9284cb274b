package pass

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework/conformance"
)

func TestConformance(t *testing.T) {
	for _, d := range Descriptors() {
		t.Run(d.Type, func(t *testing.T) {
			conformance.Outbound(t, d, conformance.Case{YAML: "{}", Sample: "sample.yaml", Nowhere: true})
		})
	}
}

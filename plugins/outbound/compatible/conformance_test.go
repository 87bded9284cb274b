package compatible

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Outbound(t, Descriptor(), conformance.Case{YAML: "{}", Sample: "sample.yaml"})
}

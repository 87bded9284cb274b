package match

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestMatchAlwaysHolds(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{"MATCH": "Match"})
	for _, payload := range []string{"", "foo"} {
		r := ruletest.Build(t, Descriptors()[0], payload)

		if !ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{}) {
			t.Errorf("MATCH,%s does not hold", payload)
		}
		if got := ruletest.Payload(r, payload); got != "" {
			t.Errorf("got payload %q, want none", got)
		}
	}
}

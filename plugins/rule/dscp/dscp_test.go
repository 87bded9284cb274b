package dscp

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestMarkMatches(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{"DSCP": "DSCP"})
	d := Descriptors()[0]
	r := ruletest.Build(t, d, "0-3/46")

	for mark, want := range map[uint8]bool{0: true, 3: true, 4: false, 46: true, 63: false} {
		if got := ruletest.Match(t, r, &framework.Flow{DSCP: mark}, ruletest.Facts{}); got != want {
			t.Errorf("%d: got %v, want %v", mark, got, want)
		}
	}
	ruletest.Refuse(t, d, "", "64", "*", "5-4")
}

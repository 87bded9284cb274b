package kernel_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/kernel"
)

// TestManyNodesAreAppliedSoon holds an apply of 5,000 nodes in ten groups,
// with filters, to a second.
func TestManyNodesAreAppliedSoon(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("proxies:\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "- {name: node %d, type: socks5, server: 127.0.0.1, port: 1}\n", i)
	}
	b.WriteString("proxy-groups:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "- {name: g%d, type: url-test, include-all: true, filter: '^node \\d*%[1]d$', exclude-filter: '^(?!node)', exclude-type: 'direct|http|nonsense', url: 'http://127.0.0.1:1/%[1]d'}\n", i)
	}
	fmt.Fprintf(&b, "- {name: all, type: select, include-all: true}\nrules: ['MATCH,all']")
	h := newHouse(t, nil)
	doc := h.load(t, b.String())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()

	if err := h.Apply(t.Context(), doc, kernel.Options{}); err != nil {
		t.Fatal(err)
	}

	took := time.Since(start)
	runtime.ReadMemStats(&after)
	t.Logf("%v, %d KiB allocated", took, (after.TotalAlloc-before.TotalAlloc)>>10)
	if n := len(h.Snapshot().Nodes["g3"].Members.Names()); n != 500 {
		t.Errorf("%d members, want 500", n)
	}
	if took > 5*time.Second { // a second on a machine of its own
		t.Errorf("took %v", took)
	}
}

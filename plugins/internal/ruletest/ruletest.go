// Package ruletest has what the tests of rule plugins share: making a rule
// from a line, and facts that are simply given.
package ruletest

import (
	"context"
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// Facts are given facts.
type Facts struct {
	Name    string
	Address netip.Addr
}

// Host implements framework.Facts.
func (f Facts) Host() string { return f.Name }

// IP implements framework.Facts.
func (f Facts) IP() (netip.Addr, bool) { return f.Address, f.Address.IsValid() }

// Descriptor is the one of ds for keyword.
func Descriptor(t testing.TB, ds []framework.Descriptor, keyword string) framework.Descriptor {
	t.Helper()
	for _, d := range ds {
		if d.Type == keyword {
			return d
		}
	}
	t.Fatalf("no rule %s", keyword)
	return framework.Descriptor{}
}

// Build makes a rule that must be right.
func Build(t testing.TB, d framework.Descriptor, payload string, params ...string) framework.Rule {
	t.Helper()
	r, err := Try(t, d, payload, params...)
	if err != nil {
		t.Fatalf("%s,%s: %v", d.Type, payload, err)
	}
	return r
}

// Try makes a rule, or says what is wrong with it. Check must agree.
func Try(t testing.TB, d framework.Descriptor, payload string, params ...string) (framework.Rule, error) {
	t.Helper()
	src := source{Payload: payload, Params: params}
	r, err := framework.Build[framework.Rule](context.Background(), d, nil, src)
	if checked := d.Check(src); (checked == nil) != (err == nil) {
		t.Errorf("%s,%s: Check says %v, Build says %v", d.Type, payload, checked, err)
	}
	return r, err
}

// Refuse checks that none of the payloads makes a rule.
func Refuse(t testing.TB, d framework.Descriptor, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if _, err := Try(t, d, p); err == nil {
			t.Errorf("%s,%s: got a rule, want an error", d.Type, p)
		}
	}
}

// Match is what r says of a flow; an error ends the test.
func Match(t testing.TB, r framework.Rule, f *framework.Flow, facts framework.Facts) bool {
	t.Helper()
	got, err := r.Match(f, facts)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// NoAllocs checks that a match costs no allocation. It is not for parallel
// tests.
func NoAllocs(t testing.TB, r framework.Rule, f *framework.Flow, facts framework.Facts) {
	t.Helper()
	if got := testing.AllocsPerRun(100, func() { r.Match(f, facts) }); got != 0 {
		t.Errorf("%T: got %v allocations a match, want 0", r, got)
	}
}

// Payload is the text that the API shows for r, made from payload.
func Payload(r framework.Rule, payload string) string {
	if p, ok := r.(framework.PayloadTexter); ok {
		return p.PayloadText()
	}
	return payload
}

// Labels checks the API's names of the rule types.
func Labels(t testing.TB, ds []framework.Descriptor, want map[string]string) {
	t.Helper()
	if len(ds) != len(want) {
		t.Errorf("got %d rules, want %d", len(ds), len(want))
	}
	for _, d := range ds {
		if d.Kind != framework.KindRule || d.Label != want[d.Type] || d.Summary == "" {
			t.Errorf("got %s %s %q %q, want label %q and a summary", d.Kind, d.Type, d.Label, d.Summary, want[d.Type])
		}
	}
}

type source framework.RuleArgs

// Decode implements framework.Source.
func (s source) Decode(into any) error {
	*into.(*framework.RuleArgs) = framework.RuleArgs(s)
	return nil
}

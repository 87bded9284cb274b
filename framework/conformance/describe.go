package conformance

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// outboundChecks are all of an outbound, in the order of a reader's interest.
func outboundChecks() []check {
	return slices.Concat(
		describeChecks(), schemaChecks(), configureChecks(),
		[]check{{"description/sample is accepted and shows every key", sampleIsAccepted}},
		lifecycleChecks(), streamChecks(), packetChecks(), faultChecks(), speedChecks(),
	)
}

// describeChecks are those of every kind.
func describeChecks() []check {
	return []check{
		{"description/type is spelled as its kind is", typeIsSpelled},
		{"description/label, summary and stability are given", lineIsGiven},
		{"description/it is the same across the wire", descriptionStays},
	}
}

// schemaChecks are those of the kinds that have a configuration.
func schemaChecks() []check {
	return []check{
		{"description/schema is valid and describes every key", schemaIsValid},
	}
}

var (
	lowerName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)
	upperName = regexp.MustCompile(`^[A-Z0-9][A-Z0-9.-]{0,63}$`)
)

func typeIsSpelled(t *trial) {
	form, say := lowerName, "want lower case, digits, - and ."
	if t.d.Kind == framework.KindRule {
		form, say = upperName, "want upper case, digits, - and ."
	}
	for _, name := range append([]string{t.d.Type}, t.d.Aliases...) {
		if !form.MatchString(name) {
			t.errorf("type %q: %s", name, say)
		}
	}
}

func lineIsGiven(t *trial) {
	d := t.d
	if d.Label == "" || strings.TrimSpace(d.Label) != d.Label || len(d.Label) > 64 {
		t.errorf("label %q: want 1 to 64 bytes without spaces around them", d.Label)
	}
	switch {
	case strings.TrimSpace(d.Summary) == "":
		t.errorf("there is no summary: give framework.WithSummary one line")
	case strings.ContainsAny(d.Summary, "\r\n") || len(d.Summary) > 100 || strings.HasSuffix(d.Summary, "."):
		t.errorf("summary %q: want one line of at most 100 bytes without a full stop", d.Summary)
	}
	switch d.Stability {
	case framework.Experimental, framework.Beta, framework.Stable, framework.Deprecated:
	default:
		t.errorf("stability %q is none of the contract's", d.Stability)
	}
}

func descriptionStays(t *trial) {
	got, want := shown(t.d), shown(t.subject.d)
	if got != want {
		t.errorf("got %s, want %s", got, want)
	}
}

func shown(d framework.Descriptor) string {
	return fmt.Sprintf("%s %s label %q aliases %q summary %q stability %s caps %q", d.Kind, d.Type, d.Label, d.Aliases, d.Summary, d.Stability, d.Caps)
}

func schemaIsValid(t *trial) {
	s, err := schemaOf(t.d)
	if err != nil {
		t.fatalf("%v", err)
	}
	for _, f := range s.flaws("schema") {
		t.errorf("%s", f)
	}
}

// sampleIsAccepted looks at the entries of d's type in a sample file, which are
// under `proxies`, or one that is the whole file.
func sampleIsAccepted(t *trial) {
	if t.outbound.Sample == "" {
		t.skipf("the case names no sample")
	}
	text, err := os.ReadFile(t.outbound.Sample)
	if err != nil {
		t.fatalf("%v", err)
	}
	tree, err := conf.Parse(t.outbound.Sample, text)
	if err != nil {
		t.fatalf("%v", err)
	}
	found := map[string]bool{}
	for _, n := range append(tree.Root().Get("proxies").Items(), tree.Root()) {
		if typ, _ := n.Get("type").Text(); typ != t.d.Type {
			continue
		}
		src := n.Source(conf.Loose, common()...)
		if err := t.d.Check(src); err != nil {
			t.errorf("%v", err)
		}
		for _, w := range src.Warnings() {
			t.errorf("%v", w)
		}
		for _, e := range n.Entries() {
			found[e.Key] = true
		}
	}
	if !found["type"] {
		t.fatalf("%s has no entry with type: %s", t.outbound.Sample, t.d.Type)
	}
	if t.process {
		return // `culvert plugin check` takes any configuration for a sample
	}
	s, err := schemaOf(t.d)
	if err != nil {
		t.fatalf("%v", err)
	}
	for _, key := range s.keys() {
		if !found[key] {
			t.errorf("%s does not show the key %s", t.outbound.Sample, key)
		}
	}
}

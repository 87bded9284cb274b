package domain

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestLabelsAreTheAPIs(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{
		"DOMAIN": "Domain", "DOMAIN-SUFFIX": "DomainSuffix", "DOMAIN-KEYWORD": "DomainKeyword",
		"DOMAIN-REGEX": "DomainRegex", "DOMAIN-WILDCARD": "DomainWildcard",
	})
}

func TestHostMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keyword, payload string
		yes, no          []string
	}{
		{"DOMAIN", "Example.COM", []string{"example.com"}, []string{"", "www.example.com", "example.co", "xample.com"}},
		{"DOMAIN", ".example.com.", []string{"example.com"}, []string{"www.example.com"}},
		{"DOMAIN", "bücher.de", []string{"xn--bcher-kva.de"}, []string{"bücher.de"}},
		{"DOMAIN-SUFFIX", "Example.com", []string{"example.com", "www.example.com", "a.b.example.com"},
			[]string{"", "notexample.com", "example.com.org", "com"}},
		{"DOMAIN-SUFFIX", ".example.com", []string{"example.com", "www.example.com"}, []string{"notexample.com"}},
		{"DOMAIN-SUFFIX", "bücher.de", []string{"xn--bcher-kva.de", "www.xn--bcher-kva.de"}, nil},
		{"DOMAIN-SUFFIX", "com", []string{"com", "a.com"}, []string{"acom"}},
		{"DOMAIN-KEYWORD", "Goo", []string{"google.com", "www.goo"}, []string{"", "go.o"}},
		{"DOMAIN-KEYWORD", ".goo", []string{"www.google.com"}, []string{"google.com"}},
		{"DOMAIN-REGEX", `^re.*[.]TEST$`, []string{"re.test", "reg.a.test"}, []string{"", "are.test", "re.test.com"}},
		{"DOMAIN-REGEX", `a{1,2}\.b`, []string{"a.b", "xaa.bc"}, []string{"ab"}},
		{"DOMAIN-WILDCARD", "*.Example.com", []string{"a.example.com", "a.b.example.com", ".example.com"},
			[]string{"example.com", "a.example.com.org"}},
		{"DOMAIN-WILDCARD", "a?c.*", []string{"abc.com", "a-c."}, []string{"ac.com", "abbc.com"}},
		{"DOMAIN-WILDCARD", "*a*b*", []string{"ab", "xaxbx", "aabb"}, []string{"ba", "a"}},
		{"DOMAIN-WILDCARD", "*", []string{"a", "a.b"}, []string{""}},
		{"DOMAIN-WILDCARD", "plain.test", []string{"plain.test"}, []string{"plain.tes", "plainxtest", "aplain.test"}},
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c.keyword), c.payload)
		for _, host := range c.yes {
			if !ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{Name: host}) {
				t.Errorf("%s,%s does not hold for %q", c.keyword, c.payload, host)
			}
		}
		for _, host := range c.no {
			if ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{Name: host}) {
				t.Errorf("%s,%s holds for %q", c.keyword, c.payload, host)
			}
		}
	}
}

func TestPayloadIsShownAsStored(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"DOMAIN", "Bücher.DE", "xn--bcher-kva.de"},
		{"DOMAIN-SUFFIX", ".Suffix.test", "suffix.test"},
		{"DOMAIN-KEYWORD", "KWtest", "kwtest"},
		{"DOMAIN-REGEX", "^re.*[.]test$", "^re.*[.]test$"},
		{"DOMAIN-WILDCARD", "*.Example.com", "*.example.com"},
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c[0]), c[1])
		if got := ruletest.Payload(r, c[1]); got != c[2] {
			t.Errorf("%s,%s: got %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestEmptyPayloadIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		ruletest.Refuse(t, d, "", " ")
	}
	for _, keyword := range []string{"DOMAIN", "DOMAIN-SUFFIX"} {
		ruletest.Refuse(t, ruletest.Descriptor(t, Descriptors(), keyword), ".", "..")
	}
	ruletest.Refuse(t, ruletest.Descriptor(t, Descriptors(), "DOMAIN-REGEX"), "(", "a{2,1}", "[z-a]")
}

func TestRegexThatRE2LacksWorksWithAWarning(t *testing.T) {
	t.Parallel()
	d := ruletest.Descriptor(t, Descriptors(), "DOMAIN-REGEX")
	for payload, slow := range map[string]bool{`^(?!www\.)a`: true, `(a)\1`: true, `^a+$`: false} {
		r := ruletest.Build(t, d, payload)

		if got := r.(framework.Warner).Warning(); (got != "") != slow {
			t.Errorf("%s: warning %q", payload, got)
		}
		if !ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{Name: "aa"}) {
			t.Errorf("%s is not found", payload)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	facts := &ruletest.Facts{Name: "www.some.example.com"}
	for _, c := range [][2]string{
		{"DOMAIN", "example.com"}, {"DOMAIN-SUFFIX", "example.com"}, {"DOMAIN-KEYWORD", "exam"},
		{"DOMAIN-REGEX", `^www\..*\.com$`}, {"DOMAIN-WILDCARD", "*.some.*.com"},
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c[0]), c[1])
		ruletest.NoAllocs(t, r, &framework.Flow{}, facts)
	}
}

func FuzzPayload(f *testing.F) {
	for _, s := range []string{"example.com", ".a.b.", "bücher.de", "xn--a", "*.a?", "^a.*$", "\xff", "ß.\u200d"} {
		f.Add(s, "www.example.com")
	}
	f.Fuzz(func(t *testing.T, payload, host string) {
		for _, d := range Descriptors() {
			r, err := ruletest.Try(t, d, payload)
			if err != nil {
				continue
			}
			ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{Name: host})
			if ruletest.Payload(r, payload) == "" {
				t.Fatalf("%s,%q: an empty payload without an error", d.Type, payload)
			}
		}
	})
}

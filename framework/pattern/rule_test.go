package pattern

import (
	"strings"
	"testing"
	"time"
)

func TestExpressionsAreSearchedInAnyCase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expr    string
		yes, no string
		slow    bool
	}{
		{`^re.*[.]TEST$`, "re.test reg.a.test", "are.test re.test.com", false},
		{`a{1,2}\.b`, "a.b xaa.bc", "ab", false},
		{`^(?!www\.).*\.test$`, "a.test", "www.a.test", true},
		{`(?<=ad)s\.`, "ads.test", "bs.test", true},
		{`(ab)\1`, "ABab", "ab", true},
		{strings.Repeat("(x?){500}", 3) + "a$", "a", "ab", true},
	} {
		r, err := Compile(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if (r.Warning() != "") != c.slow {
			t.Errorf("%s: warning %q", c.expr, r.Warning())
		}
		for _, s := range strings.Fields(c.yes) {
			if !r.Match(s) {
				t.Errorf("%s is not found in %s", c.expr, s)
			}
		}
		for _, s := range strings.Fields(c.no) {
			if r.Match(s) {
				t.Errorf("%s is found in %s", c.expr, s)
			}
		}
	}
}

func TestWhatIsNoExpressionSaysWhy(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		"": "empty", " ": "empty", "(": "missing closing", "a{2,1}": "repeat", "[z-a]": "range", `(?!a`: "(?!", `((a{20}){20}){20}`: "repeat", strings.Repeat("(a?){500}", 20): "too large",
	} {
		if _, err := Compile(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", expr, err, want)
		}
	}
}

// The worst that was found for either engine, on the longest name. The bounds
// leave room for a busy machine; the benchmark has the times.
func TestWorstCasesEnd(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("a", 253)
	for _, expr := range worst() {
		r, err := Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()

		r.Match(name)

		if took := time.Since(begin); took > time.Second {
			t.Errorf("%s took %v", expr, took)
		}
	}
}

func worst() map[string]string {
	return map[string]string{
		"nested":         `(a*)*b$`,
		"counted":        `(((a?){10}){10}){2}b$`,
		"alternatives":   `(a|aa|aaa)+b$`,
		"look-ahead":     `^(?=(a+)+b)`,
		"back-reference": `(a*)*\1b$`,
	}
}

func TestWildcardsFitTheWholeText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pattern, yes, no string }{
		{"*.a.test", "x.a.test x.y.a.test .a.test", "a.test x.a.test.org"},
		{"a?c*", "abc abcd", "ac abbc"},
		{"*a*b*", "ab xaxbx aabb", "ba a"},
		{"plain", "plain", "plai plainx xplain"},
		{"*", "a", ""},
	} {
		for _, s := range strings.Fields(c.yes) {
			if !Wildcard(c.pattern, s) {
				t.Errorf("%s does not fit %s", c.pattern, s)
			}
		}
		for _, s := range strings.Fields(c.no) {
			if Wildcard(c.pattern, s) {
				t.Errorf("%s fits %s", c.pattern, s)
			}
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"^a.*$", "(?!a)b", `(a)\1`, "(", "a{3}{4}", `\p{Greek}`, "(?<n>a)"} {
		f.Add(s, "www.example.com")
	}
	f.Fuzz(func(t *testing.T, expr, s string) {
		if len(s) > 253 {
			return
		}
		if r, err := Compile(expr); err == nil {
			r.Match(s)
		}
	})
}

func FuzzWildcard(f *testing.F) {
	f.Add("*a?b*", "xxaxbxx")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 40 {
			return
		}
		if got, want := Wildcard(pattern, s), slow(pattern, s); got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, s, got, want)
		}
	})
}

// slow is Wildcard as it is defined.
func slow(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		return slow(pattern[1:], s) || s != "" && slow(pattern, s[1:])
	}
	return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && slow(pattern[1:], s[1:])
}

// BenchmarkWorst: the goal is 2 ms on a name of 253 letters.
func BenchmarkWorst(b *testing.B) {
	name := strings.Repeat("a", 253)
	for label, expr := range worst() {
		r, err := Compile(expr)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(label, func(b *testing.B) {
			for b.Loop() {
				r.Match(name)
			}
		})
	}
}

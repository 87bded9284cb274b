package pattern_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/pattern"
)

func TestPatternsAreOfTheDotNetFlavour(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, name string
		want       bool
	}{
		{"HK|SG", "node SG 1", true},
		{"(?i)hk", "HK 01", true},
		{"hk", "HK 01", false},
		{"^(?!.*(exp|left)).*$", "HK 01", true},
		{"^(?!.*(exp|left)).*$", "left: 3 GB", false},
		{"(?<!x)HK", "xHK", false},
		{`(.)\1`, "aa", true},
		{`(.)\1`, "ab", false},
		{`^\w+$`, "香港", true},
		{`^\d$`, "٣", true},
		{"香港|🇭🇰", "🇭🇰 1", true},
		{"a`b", "b", true},
		{"a`b", "c", false},
	} {
		list, err := pattern.Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := pattern.Any(list, c.name); got != c.want {
			t.Errorf("%s in %q: got %v, want %v", c.text, c.name, got, c.want)
		}
	}
}

func TestBadPatternIsNamed(t *testing.T) {
	t.Parallel()
	_, err := pattern.Parse("good`(bad")
	if err == nil || !strings.Contains(err.Error(), `"(bad"`) {
		t.Errorf("got %v, want an error about (bad", err)
	}
}

func TestEndlessPatternDoesNotMatch(t *testing.T) {
	t.Parallel()
	list, err := pattern.Parse(`(?=(\w+)+$)^(\w+\s?)+$`)
	if err != nil {
		t.Fatal(err)
	}

	start := time.Now()
	if pattern.Any(list, strings.Repeat("a", 60)+"!") {
		t.Error("it matches")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a`b", "(?i)x", "(?<=a)b", `\w+`, "(", "[", "(?<n>a)\\k<n>"} {
		f.Add(s, "name")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		if len(text) > 50 || len(name) > 50 {
			return
		}
		list, err := pattern.Parse(text)
		if err == nil {
			pattern.Any(list, name)
		}
	})
}

package rest

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "<script>&", "\x00\x1f\x7f", "节点 🇨🇭", "\u2028\u2029", "\xff\xc0\x80", "a\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)

		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %q is no JSON: %v", s, b, err)
		}
		if want := validUTF8(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
		if strings.ContainsAny(string(b), "<>&\u2028\u2029\n") {
			t.Errorf("%q: %q has a character that is markup elsewhere", s, b)
		}
	})
}

// validUTF8 is s with each bad byte replaced, as encoding/json does it.
func validUTF8(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

func FuzzStatusRanges(f *testing.F) {
	for _, s := range []string{"", "*", "204", "200/204", "200-299/404", "200,204", "299-200", "abc", "-", "/", "65536", "200-", " 204 ", strings.Repeat("1/", 30)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ranges, ok := parseStatusRanges(s)
		if !ok && ranges != nil || len(ranges) > maxStatusRanges {
			t.Errorf("%q: got %v, %v", s, ranges, ok)
		}
		for _, r := range ranges {
			if r.Low > r.High {
				t.Errorf("%q: got the range %v", s, r)
			}
		}
	})
}

func TestStatusRanges(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		ok       bool
		has, not uint16
	}{
		"": {true, 500, 0}, "*": {true, 200, 0}, "204": {true, 204, 200}, "200/204": {true, 204, 201}, "200-299,404": {true, 404, 300},
		"299-200": {true, 250, 300}, "abc": {}, "-": {}, "/": {}, "200-": {}, "65536": {}, "200-abc": {}, strings.Repeat("1/", 29): {},
		strings.Repeat("1/", 28): {true, 1, 2},
	} {
		ranges, ok := parseStatusRanges(text)

		if ok != c.ok || ok && (!ranges.Has(c.has) || c.not != 0 && ranges.Has(c.not)) {
			t.Errorf("%q: got %v, %v", text, ranges, ok)
		}
	}
}

func TestGuardedPathsCoverAllRoutes(t *testing.T) {
	t.Parallel()
	a := &API{}
	for _, r := range a.routes() {
		if !guarded(r.path) {
			t.Errorf("%s %s needs no secret", r.method, r.path)
		}
	}
	if !guarded("/metrics") || guarded("/ui/x") || guarded("/debug/gc") || guarded("/providers") {
		t.Error("a path is on the wrong side")
	}
}

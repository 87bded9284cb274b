package ruleset_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/culvert-proxy/culvert/framework/ruleset"
)

func domains(t testing.TB, entries ...string) *ruleset.Domains {
	t.Helper()
	s, err := ruleset.Inline(ruleset.Domain, entries)
	if err != nil || s.Bad.Count > 0 {
		t.Fatalf("%q: %v, %v", entries, err, s.Bad.First)
	}
	return s.Domains
}

func TestDomainEntriesMatchAsTheFactsSay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ entry, yes, no string }{
		{"a.test", "a.test A.Test", "x.a.test ba.test test a.tes"},
		{"+.a.test", "a.test x.a.test y.x.a.test", "ba.test test"},
		{".a.test", "x.a.test y.x.a.test", "a.test xa.test"},
		{"*.a.test", "x.a.test", "a.test y.x.a.test"},
		{"a.*.b.test", "a.x.b.test", "a.b.test a.x.y.b.test x.a.x.b.test"},
		{"*", "localhost nas", "a.b"},
		{"*.*", "a.b", "a a.b.c"},
		{"*.*.c", "a.b.c", "b.c x.a.b.c"},
		{"+.*.pw.t", "x.pw.t y.x.pw.t", "pw.t"},
		{".*.pw.t", "y.x.pw.t", "x.pw.t pw.t"},
		{"time.*.com", "time.x.com", "time.com time.x.y.com"},
		{"xbox.*.*.ms.com", "xbox.a.b.ms.com", "xbox.a.ms.com"},
		{"a*b.t", "", "axb.t ab.t"},
		{"*b.t", "", "xb.t b.t"},
		{"b*.t", "", "bx.t b.t"},
		{"EXAMPLE.Com", "example.com Example.COM", ""},
		{"+.中国", "xn--fiqs8s a.xn--fiqs8s", "中国"},
		{"bücher.DE", "xn--bcher-kva.de", ""},
		{"Mijia Cloud", "mijia cloud", "mijia"},
		{"com", "com", "a.com"},
		{"+.com", "com a.com", "acom"},
	} {
		s := domains(t, c.entry)
		for _, host := range fields(c.yes) {
			if !s.Has(host) {
				t.Errorf("%q does not match %q", c.entry, host)
			} else if got := s.Entry(host); strings.ContainsFunc(c.entry, func(r rune) bool { return r > 127 }) == false && got != strings.ToLower(c.entry) {
				t.Errorf("%q matches %q as %q", c.entry, host, got)
			}
		}
		for _, host := range append(fields(c.no), "", ".", "..") {
			if s.Has(host) || s.Entry(host) != "" {
				t.Errorf("%q matches %q", c.entry, host)
			}
		}
	}
}

// fields splits at spaces, but leaves the one name that has a space.
func fields(s string) []string {
	if s == "mijia cloud" {
		return []string{s}
	}
	return strings.Fields(s)
}

func TestBadDomainEntriesAreSkippedAndTold(t *testing.T) {
	t.Parallel()
	bad := []string{"a/b", "a.test.", "a..test", " a.test", "a.test ", ".", "+.", "", "+", "a.+.b", "..a", "+..a", "a\x01b", strings.Repeat("a", 254)}

	s, err := ruleset.Inline(ruleset.Domain, append([]string{"good.test"}, bad...))

	if err != nil || s.Len() != 1 || s.Bad.Count != len(bad) || !s.Domains.Has("good.test") {
		t.Fatalf("error %v, %d entries, %d bad; want none, 1, %d", err, s.Len(), s.Bad.Count, len(bad))
	}
	if len(s.Bad.First) != 5 || s.Bad.First[0].Line != 2 || s.Bad.First[0].Text != "a/b" || !strings.Contains(s.Bad.First[0].Error(), "slash") {
		t.Errorf("the first bad ones are %v", s.Bad.First)
	}
}

func TestStarTriesEachWay(t *testing.T) {
	t.Parallel()
	s := domains(t, "a.*.c.t", "*.b.*.t", "x.*.*.t", "+.q.*.t")
	for host, want := range map[string]string{
		"a.z.c.t": "a.*.c.t", "z.b.c.t": "*.b.*.t", "x.y.z.t": "x.*.*.t", "w.q.c.t": "+.q.*.t", "q.c.t": "+.q.*.t", "z.z.c.t": "", "z.c.t": "",
	} {
		if got := s.Entry(host); got != want || s.Has(host) != (want != "") {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

func TestNilAndEmptySetsHaveNothing(t *testing.T) {
	t.Parallel()
	var none *ruleset.Domains
	for _, s := range []*ruleset.Domains{none, domains(t)} {
		if s.Has("a") || s.Len() != 0 || s.Entry("a") != "" {
			t.Error("an empty set has something")
		}
	}
}

// plainMatch is what an entry means, said slowly.
func plainMatch(entry, host string) bool {
	entry, host = strings.ToLower(entry), strings.ToLower(host)
	suffix, deep := entry, 0 // 1: any number of labels more, 2: one or more
	if rest, ok := strings.CutPrefix(entry, "+."); ok {
		suffix, deep = rest, 1
	} else if rest, ok := strings.CutPrefix(entry, "."); ok {
		suffix, deep = rest, 2
	}
	want, have := strings.Split(suffix, "."), strings.Split(host, ".")
	if slices.Contains(have, "") || len(have) < len(want) {
		return false
	}
	extra := len(have) - len(want)
	if deep == 0 && extra > 0 || deep == 2 && extra == 0 {
		return false
	}
	for i, label := range want {
		if label != "*" && label != have[extra+i] {
			return false
		}
	}
	return true
}

// label draws from few names, so that entries and hosts meet.
func label() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"a", "b", "c", "ab", "ba", "com", "www", "x-1"})
}

func entry() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		labels := rapid.SliceOfN(rapid.OneOf(label(), label(), label(), rapid.Just("*")), 1, 4).Draw(t, "labels")
		return rapid.SampledFrom([]string{"", "", "+.", "."}).Draw(t, "prefix") + strings.Join(labels, ".")
	})
}

func TestSetAnswersAsItsEntriesOneByOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(entry(), 0, 30).Draw(t, "entries")
		s := domains2(t, entries)
		for range 20 {
			host := strings.Join(rapid.SliceOfN(label(), 1, 5).Draw(t, "host"), ".")
			want := slices.ContainsFunc(entries, func(e string) bool { return plainMatch(e, host) })
			if s.Has(host) != want {
				t.Fatalf("%q: got %v, want %v", host, !want, want)
			}
			if got := s.Entry(host); (got != "") != want || want && !plainMatch(got, host) {
				t.Fatalf("%q: entry %q, want match %v", host, got, want)
			}
		}
	})
}

func domains2(t *rapid.T, entries []string) *ruleset.Domains {
	s, err := ruleset.Inline(ruleset.Domain, entries)
	if err != nil || s.Bad.Count > 0 {
		t.Fatalf("%v %v", err, s.Bad.First)
	}
	return s.Domains
}

func TestLookupsDoNotAllocate(t *testing.T) {
	s := domains(t, "+.a.test", "a.*.b.test", ".c.test", "d.test")
	got := testing.AllocsPerRun(100, func() {
		for _, host := range [...]string{"x.y.a.test", "a.x.b.test", "c.test", "D.TEST", "none.example"} {
			s.Has(host)
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func FuzzDomainEntry(f *testing.F) {
	for _, s := range []string{"a.test", "+.a.test", ".a", "*.a", "a.*.b", "*", "中国.test", "a..b", "\x00", "+.*.x", strings.Repeat("a.", 130)} {
		f.Add(s, "x.a.test")
	}
	f.Fuzz(func(t *testing.T, entry, host string) {
		s, err := ruleset.Inline(ruleset.Domain, []string{entry})
		if err != nil {
			t.Fatal(err)
		}
		if s.Len()+s.Bad.Count != 1 {
			t.Fatalf("%d entries and %d bad of one", s.Len(), s.Bad.Count)
		}
		if has := s.Domains.Has(host); has != (s.Domains.Entry(host) != "") {
			t.Fatalf("%q in %q: Has says %v, Entry %q", host, entry, has, s.Domains.Entry(host))
		}
	})
}

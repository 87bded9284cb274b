package ruleset_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/culvert-proxy/culvert/framework/ruleset"
)

func read(t testing.TB, b ruleset.Behavior, f ruleset.Format, data string) *ruleset.Set {
	t.Helper()
	s, err := ruleset.Read(b, f, strings.NewReader(data), 0)
	if err != nil {
		t.Fatalf("%.60q: %v", data, err)
	}
	return s
}

func TestYAMLIsReadInEachShape(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"block":              "payload:\n  - a.test\n  - '+.b.test'\n  - \"c.test\"\n",
		"no indentation":     "payload:\n- a.test\n- '+.b.test'\n- c.test",
		"legacy key":         "rules:\n  - a.test\n  - '+.b.test'\n  - c.test\n",
		"comments":           "# head\n\npayload: # what follows\n  # one\n  - a.test # first\n\n  - '+.b.test' # second\n  - c.test\n",
		"CRLF":               "payload:\r\n  - a.test\r\n  - '+.b.test'\r\n  - c.test\r\n",
		"keys before":        "version: 1\nname: x\npayload:\n  - a.test\n  - '+.b.test'\n  - c.test\n",
		"keys behind":        "payload:\n  - a.test\n  - '+.b.test'\n  - c.test\nmore: [d.test]\nlist:\n  - e.test\n",
		"mark and document":  "\ufeff---\npayload:\n  - a.test\n  - '+.b.test'\n  - c.test\n",
		"flow list":          "payload: ['a.test', '+.b.test', c.test]\n",
		"flow over lines":    "payload: [\n  a.test,\n  '+.b.test', c.test ]\n",
		"JSON":               `{"payload": ["a.test", "+.b.test", "c.test"]}`,
		"escapes":            "payload:\n  - \"\\x61.test\"\n  - '+.b.test'\n  - c.test\n",
		"anchors":            "x: &x a.test\npayload:\n  - *x\n  - '+.b.test'\n  - c.test\n",
		"deep indentation":   "payload:\n        - a.test\n        - '+.b.test'\n        - c.test\n",
		"folded":             "payload:\n  - >-\n    a.test\n  - '+.b.test'\n  - c.test\n",
		"with what is wrong": "payload:\n  - a.test\n  - 5\n  - true\n  - ~\n  -\n  - [x]\n  - a: b\n  - '+.b.test'\n  - c.test\n",
		"a line of nonsense": "payload:\n  - a.test\n  ]]]\n  - '+.b.test'\n  - c.test\n",
	} {
		s := read(t, ruleset.Domain, ruleset.YAML, doc)
		if s.Len() != 3 || !s.Domains.Has("a.test") || !s.Domains.Has("x.b.test") || !s.Domains.Has("c.test") || s.Domains.Has("e.test") {
			t.Errorf("%s: %d entries, bad %v", name, s.Len(), s.Bad.First)
		}
		if wrong := strings.Contains(name, "wrong") || strings.Contains(name, "nonsense"); wrong != (s.Bad.Count > 0) {
			t.Errorf("%s: %d are bad: %v", name, s.Bad.Count, s.Bad.First)
		}
	}
}

func TestYAMLWithoutAListIsEmpty(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{"", "# nothing\n", "payload:\n", "payload: []\n", "payload: a.test\n", "other:\n  - a.test\n", "a.test\nb.test\n", "payload: ["} {
		if s := read(t, ruleset.Domain, ruleset.YAML, doc); s.Len() != 0 {
			t.Errorf("%q: %d entries", doc, s.Len())
		}
	}
}

func TestTextIsReadLineByLine(t *testing.T) {
	t.Parallel()
	s := read(t, ruleset.Domain, ruleset.Text, "\ufeff# comment\r\n// another\n\n  a.test  \r\n+.b.test\n- 'q.test'\nc.test # no comment\n"+strings.Repeat("x", 70000)+"\nlast.test")

	if !s.Domains.Has("a.test") || !s.Domains.Has("b.test") || !s.Domains.Has("last.test") || s.Domains.Has("q.test") || s.Domains.Has("c.test") {
		t.Errorf("%d entries, bad %v", s.Len(), s.Bad.First)
	}
	if s.Bad.Count != 1 || s.Bad.First[0].Line != 8 {
		t.Errorf("bad %v, want the long line 8", s.Bad.First)
	}
}

func TestClassicalLinesAreSplit(t *testing.T) {
	t.Parallel()
	s := read(t, ruleset.Classical, ruleset.Text, strings.Join([]string{
		"DOMAIN-SUFFIX, a.test", "IP-CIDR,10.0.0.0/8,no-resolve", "DOMAIN-REGEX,^a{1,2}$", "AND,((NETWORK,tcp),(DST-PORT,80))",
		"DOMAIN,b.test,SomePolicy", "MATCH,x", "RULE-SET,x", "SUB-RULE,(A,b),c", "domain,x", "DOMAIN", ",x",
	}, "\n"))

	want := []ruleset.Line{
		{Type: "DOMAIN-SUFFIX", Payload: "a.test", Number: 1},
		{Type: "IP-CIDR", Payload: "10.0.0.0/8", Params: []string{"no-resolve"}, Number: 2},
		{Type: "DOMAIN-REGEX", Payload: "^a{1,2}$", Number: 3},
		{Type: "AND", Payload: "((NETWORK,tcp),(DST-PORT,80))", Number: 4},
		{Type: "DOMAIN", Payload: "b.test", Params: []string{"SomePolicy"}, Number: 5},
	}
	if !reflect.DeepEqual(s.Lines, want) || s.Len() != 5 || s.Bad.Count != 6 {
		t.Errorf("got %v, %d bad %v", s.Lines, s.Bad.Count, s.Bad.First)
	}
}

func TestListLargerThanItsLimitIsRefused(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("a.test\n", 100)
	for _, f := range []ruleset.Format{ruleset.YAML, ruleset.Text} {
		if _, err := ruleset.Read(ruleset.Domain, f, strings.NewReader(data), int64(len(data))); err != nil {
			t.Errorf("%s of its limit: %v", f, err)
		}
		if _, err := ruleset.Read(ruleset.Domain, f, strings.NewReader(data), int64(len(data))-1); !errors.Is(err, ruleset.ErrTooLarge) {
			t.Errorf("%s: got %v, want ErrTooLarge", f, err)
		}
	}
}

// pack compresses the parts as an mrs file; numbers become eight bytes.
func pack(t testing.TB, parts ...any) []byte {
	t.Helper()
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case int:
			b = binary.BigEndian.AppendUint64(b, uint64(p))
		}
	}
	var out bytes.Buffer
	z, _ := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func unpack(t testing.TB, mrs []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(mrs), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func convert(t testing.TB, behavior, format, data string) string {
	t.Helper()
	var out bytes.Buffer
	if _, _, err := ruleset.Convert(behavior, format, strings.NewReader(data), &out); err != nil {
		t.Fatalf("%s %s %.60q: %v", behavior, format, data, err)
	}
	return out.String()
}

func TestMRSHasTheLayoutOfTheFacts(t *testing.T) {
	t.Parallel()
	got := unpack(t, []byte(convert(t, "domain", "text", "+.b.test\na.test\n.c.test\n*.d.test\n")))
	want := unpack(t, pack(t, "MRS\x01\x00", 4, 0, "\x01", 1, 0xE0C0, 1, 0x7AAAC2AA, 17, "tset.abcd...++*"))
	want = bytes.Replace(want, binary.BigEndian.AppendUint64(nil, 17), binary.BigEndian.AppendUint64(nil, 15), 1)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}

	got = unpack(t, []byte(convert(t, "ipcidr", "text", "2001:db8::/32\n10.0.0.0/9\n10.128.0.0/9\n")))
	from, to := netip.MustParseAddr("::ffff:10.0.0.0").As16(), netip.MustParseAddr("::ffff:10.255.255.255").As16()
	from6, to6 := netip.MustParseAddr("2001:db8::").As16(), netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff").As16()
	want = unpack(t, pack(t, "MRS\x01\x01", 3, 0, "\x01", 2, string(from[:]), string(to[:]), string(from6[:]), string(to6[:])))
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestMRSThatIsWrongIsRefused(t *testing.T) {
	t.Parallel()
	good := []any{"MRS\x01\x00", 4, 0, "\x01", 1, 0xE0C0, 1, 0x7AAAC2AA, 15, "tset.abcd...++*"}
	with := func(i int, v any) []byte {
		parts := slices.Clone(good)
		parts[i] = v
		return pack(t, parts...)
	}
	if _, err := ruleset.Read(ruleset.Domain, ruleset.MRS, bytes.NewReader(pack(t, good...)), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := ruleset.Read(ruleset.Domain, ruleset.MRS, bytes.NewReader(with(2, 3)), 0); err == nil {
		t.Error("an extra length without extra bytes is read")
	}
	extra := pack(t, "MRS\x01\x00", 4, 3, "abc\x01", 1, 0xE0C0, 1, 0x7AAAC2AA, 15, "tset.abcd...++*")
	if s, err := ruleset.Read(ruleset.Domain, ruleset.MRS, bytes.NewReader(extra), 0); err != nil || s.Len() != 4 {
		t.Errorf("extra bytes are not skipped: %v", err)
	}
	full := pack(t, good...)
	for name, data := range map[string][]byte{
		"not compressed": unpack(t, full), "truncated": full[:len(full)-6], "empty": {}, "magic": with(0, "MRS\x02\x00"), "behavior": with(0, "MRS\x01\x01"),
		"negative count": with(1, -1), "negative extra": with(2, -1), "body version": with(3, "\x02"), "no words": with(4, 0), "many words": with(4, 1<<40),
		"many bits": with(6, 1<<40), "more bits than nodes": with(6, 3), "bits are no tree": with(7, 0xFFFF), "all zeros": with(7, 0), "few labels": with(8, 14),
		"many labels": with(8, 1<<40), "short labels": with(9, "tset"), "bytes behind": with(9, "tset.abcd...++*x"),
		"backwards": pack(t, "MRS\x01\x01", 1, 0, "\x01", 1, 0, 5, 0, 4),
	} {
		b := ruleset.Domain
		if name == "backwards" {
			b = ruleset.IPCIDR
		}
		if _, err := ruleset.Read(b, ruleset.MRS, bytes.NewReader(data), 0); !errors.Is(err, ruleset.ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
	if _, err := ruleset.Read(ruleset.Classical, ruleset.MRS, bytes.NewReader(full), 0); err == nil {
		t.Error("a classical mrs file is read")
	}
}

func TestMRSThatUnpacksWithoutEndIsRefused(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	z, _ := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	fmt.Fprint(z, "MRS\x01\x00")
	z.Write(binary.BigEndian.AppendUint64(nil, 1))
	z.Write(binary.BigEndian.AppendUint64(nil, 250<<20)) // extra, which is skipped
	zeros := make([]byte, 1<<20)
	for range 300 {
		z.Write(zeros)
	}
	z.Close()

	_, err := ruleset.Read(ruleset.Domain, ruleset.MRS, &out, 0)

	if err == nil {
		t.Error("300 MiB of zeros are read")
	}
}

func TestNamesOfOtherScriptsInMRSAreConverted(t *testing.T) {
	t.Parallel()
	// One name, 中国, as other programs keep it: reversed by characters.
	data := pack(t, "MRS\x01\x00", 1, 0, "\x01", 1, 1<<6, 1, 0x1AAA, 6, "国中")

	s, err := ruleset.Read(ruleset.Domain, ruleset.MRS, bytes.NewReader(data), 0)

	if err != nil || !s.Domains.Has("xn--fiqs8s") || s.Len() != 1 {
		t.Errorf("error %v, %+v", err, s)
	}
}

func TestConvertingThereAndBackKeepsTheSet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(entry(), 1, 30).Draw(t, "entries")
		var packed, text, again bytes.Buffer
		if _, _, err := ruleset.Convert("domain", "text", strings.NewReader(strings.Join(entries, "\n")), &packed); err != nil {
			t.Fatal(err)
		}
		file := bytes.Clone(packed.Bytes())
		if _, _, err := ruleset.Convert("domain", "mrs", &packed, &text); err != nil {
			t.Fatal(err)
		}
		a := domains2(t, entries)
		b, err := ruleset.Read(ruleset.Domain, ruleset.MRS, bytes.NewReader(file), 0)
		if err != nil || b.Len() != len(entries) {
			t.Fatal(err, b)
		}
		c := domains2(t, strings.Fields(text.String()))
		for range 20 {
			host := strings.Join(rapid.SliceOfN(label(), 1, 5).Draw(t, "host"), ".")
			if a.Has(host) != b.Domains.Has(host) || a.Has(host) != c.Has(host) {
				t.Fatalf("%s: text %v, mrs %v, text again %v", host, a.Has(host), b.Domains.Has(host), c.Has(host))
			}
		}
		if _, _, err := ruleset.Convert("domain", "text", &text, &again); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConvertRefusesWhatHasNoOtherForm(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"classical", "text", "DOMAIN,a"}, {"Domain", "text", "a"}, {"domain", "json", "a"}, {"domain", "text", "# nothing\n"}, {"domain", "mrs", "a.test\n"}, {"ipcidr", "yaml", "payload: []\n"},
	} {
		var out bytes.Buffer
		if _, _, err := ruleset.Convert(c[0], c[1], strings.NewReader(c[2]), &out); err == nil || out.Len() > 0 {
			t.Errorf("%v: got %v and %d bytes, want an error", c, err, out.Len())
		}
	}
	if _, bad, err := ruleset.Convert("ipcidr", "text", strings.NewReader("1.1.1.1\nx\n"), io.Discard); err != nil || bad.Count != 1 {
		t.Errorf("got %v, %v", bad, err)
	}
}

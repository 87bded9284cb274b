package ruleset_test

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework/ruleset"
	"github.com/culvert-proxy/culvert/tests/require"
)

// data is the folder of public lists beside the checkout.
func data(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "testdata", "geo")
	_, err := os.Stat(dir)
	require.That(t, err == nil, "the public lists in ../shared/testdata/geo")
	return dir
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPublicListsAnswerAlikeInAllFormats(t *testing.T) {
	t.Parallel()
	dir := data(t)
	for folder, b := range map[string]ruleset.Behavior{"geosite": ruleset.Domain, "geoip": ruleset.IPCIDR} {
		lists, _ := filepath.Glob(filepath.Join(dir, folder, "*.list"))
		if len(lists) == 0 {
			t.Errorf("no lists in %s", folder)
		}
		for _, name := range lists {
			text := file(t, name)
			base := strings.TrimSuffix(name, ".list")
			packed := file(t, base+".mrs")
			sets := []*ruleset.Set{read(t, b, ruleset.Text, text), read(t, b, ruleset.YAML, file(t, base+".yaml")), read(t, b, ruleset.MRS, packed)}
			key := map[ruleset.Behavior]string{ruleset.Domain: "domain", ruleset.IPCIDR: "ipcidr"}[b]
			own := convert(t, key, "text", text)
			sets = append(sets, read(t, b, ruleset.MRS, own), read(t, b, ruleset.Text, convert(t, key, "mrs", packed)))
			for i, s := range sets[1:4] {
				if s.Len() != sets[0].Len() || s.Bad.Count > 0 || s.Len() != len(strings.Fields(text)) {
					t.Errorf("%s, form %d: %d entries, %d bad, the text has %d", name, i+1, s.Len(), s.Bad.Count, sets[0].Len())
				}
			}
			if !bytes.Equal(unpack(t, []byte(own)), unpack(t, []byte(packed))) {
				t.Errorf("%s: our mrs differs from the publisher's", name)
			}
			for _, entry := range strings.Fields(text) {
				alike(t, b, entry, sets)
			}
		}
	}
}

// alike asks all sets for an entry and for names or addresses beside it.
func alike(t *testing.T, b ruleset.Behavior, entry string, sets []*ruleset.Set) {
	t.Helper()
	if b == ruleset.Domain {
		name := strings.TrimLeft(entry, "+.")
		for i, host := range []string{name, "x." + name, "x" + name, name[1:], name + "x", "y.x." + name} {
			want := sets[0].Domains.Has(host)
			if i == 0 && !want {
				t.Errorf("%s is not in its own set", entry)
			}
			for form, s := range sets[1:] {
				if s.Domains.Has(host) != want {
					t.Errorf("%s of %s: form %d says %v", host, entry, form+1, !want)
				}
			}
		}
		return
	}
	p := netip.MustParsePrefix(entry)
	for i, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), p.Addr().Next()} {
		want := sets[0].Prefixes.Has(a)
		if i == 0 && !want {
			t.Errorf("%s is not in its own set", entry)
		}
		for form, s := range sets[1:] {
			if s.Prefixes.Has(a) != want {
				t.Errorf("%s of %s: form %d says %v", a, entry, form+1, !want)
			}
		}
	}
}

func TestPublicClassicalListsAreAlikeInBothFormats(t *testing.T) {
	t.Parallel()
	lists, _ := filepath.Glob(filepath.Join(data(t), "classical", "*.list"))
	for _, name := range lists {
		a := read(t, ruleset.Classical, ruleset.Text, file(t, name))
		b := read(t, ruleset.Classical, ruleset.YAML, file(t, strings.TrimSuffix(name, ".list")+".yaml"))
		if a.Len() == 0 || a.Len() != b.Len() || a.Bad.Count+b.Bad.Count > 0 {
			t.Errorf("%s: %d and %d lines, bad %v %v", name, a.Len(), b.Len(), a.Bad, b.Bad)
			continue
		}
		for i := range a.Lines {
			if a.Lines[i].String() != b.Lines[i].String() {
				t.Errorf("%s: %s and %s", name, a.Lines[i], b.Lines[i])
			}
		}
	}
}

func FuzzMRS(f *testing.F) {
	f.Add([]byte("MRS\x01\x00"), false)
	f.Add(unpack(f, pack(f, "MRS\x01\x00", 4, 0, "\x01", 1, 0xE0C0, 1, 0x7AAAC2AA, 15, "tset.abcd...++*")), false)
	f.Add(unpack(f, pack(f, "MRS\x01\x01", 1, 0, "\x01", 1, 0, 4, 0, 5)), true)
	f.Fuzz(func(t *testing.T, body []byte, ip bool) {
		b, key := ruleset.Domain, "domain"
		if ip {
			b, key = ruleset.IPCIDR, "ipcidr"
		}
		packed := pack(t, string(body))
		s, err := ruleset.Read(b, ruleset.MRS, bytes.NewReader(packed), 0)
		_, _, converted := ruleset.Convert(key, "mrs", bytes.NewReader(packed), io.Discard)
		if (err == nil) != (converted == nil) {
			t.Fatalf("Read says %v, Convert says %v", err, converted)
		}
		if err == nil && b == ruleset.Domain {
			s.Domains.Has("x.b.test")
		} else if err == nil {
			s.Prefixes.Has(netip.MustParseAddr("::5"))
		}
	})
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{"payload:\n- a\n", "payload: [a, b]", "rules:\n  - 'x' # c\n", "payload:\n - \"\\x\n", "{", "payload:\n- - -\n", "payload:\n  - a: b\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, b := range []ruleset.Behavior{ruleset.Domain, ruleset.IPCIDR, ruleset.Classical} {
			if _, err := ruleset.Read(b, ruleset.YAML, bytes.NewReader(doc), 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("a.test\n# c\n\r\n+.b\n1.2.3.4/5"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, b := range []ruleset.Behavior{ruleset.Domain, ruleset.IPCIDR, ruleset.Classical} {
			if _, err := ruleset.Read(b, ruleset.Text, bytes.NewReader(doc), 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

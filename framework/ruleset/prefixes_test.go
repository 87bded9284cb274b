package ruleset_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/culvert-proxy/culvert/framework/ruleset"
)

func TestAddressEntriesMatchAsTheFactsSay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ entry, yes, no string }{
		{"10.0.0.0/8", "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3", "9.255.255.255 11.0.0.0 ::a00:1"},
		{"10.1.2.3/8", "10.0.0.0", "11.0.0.0"},
		{"1.2.3.4", "1.2.3.4", "1.2.3.5 1.2.3.3"},
		{"2001:db8::/32", "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:: 2001:db9:: 1.2.3.4"},
		{"2001:db8::1", "2001:db8::1", "2001:db8::2 2001:db8::"},
		{"2001:db8::/96", "2001:db8::ffff:ffff", "2001:db8::1:0:0"},
		{"::ffff:10.0.0.0/104", "10.9.9.9 ::ffff:10.0.0.1", "11.0.0.0"},
		{"fe80::%eth0/10", "fe80::1 fe80::1%eth1", "fec0::"},
		{"0.0.0.0/0", "0.0.0.0 255.255.255.255", "::"},
		{"::/0", ":: ffff::", "1.1.1.1"},
		{"255.255.255.255/32", "255.255.255.255", "255.255.255.254"},
	} {
		s, err := ruleset.Inline(ruleset.IPCIDR, []string{c.entry})
		if err != nil || s.Bad.Count > 0 || s.Len() != 1 {
			t.Errorf("%s: %v %v", c.entry, err, s.Bad.First)
			continue
		}
		for _, ip := range strings.Fields(c.yes) {
			a := netip.MustParseAddr(ip)
			if p, ok := s.Prefixes.Entry(a); !s.Prefixes.Has(a) || !ok || !p.Contains(a.Unmap().WithZone("")) {
				t.Errorf("%s does not hold %s: %v", c.entry, ip, p)
			}
		}
		for _, ip := range strings.Fields(c.no) {
			if s.Prefixes.Has(netip.MustParseAddr(ip)) {
				t.Errorf("%s holds %s", c.entry, ip)
			}
		}
	}
}

func TestBadAddressEntriesAreSkippedAndTold(t *testing.T) {
	t.Parallel()
	bad := []string{"", "a", "1.2.3", "1.2.3.4/33", "1.2.3.256", "01.2.3.4", "1.2.3.4/", "1.2.3.4/08", "::/129", "IP-CIDR,1.0.0.0/8", "1.2.3.4 ", "::1/-1", "%", "1.2.3.4.5"}

	s, err := ruleset.Inline(ruleset.IPCIDR, append([]string{"1.2.3.0/24"}, bad...))

	if err != nil || s.Len() != 1 || s.Bad.Count != len(bad) || !s.Prefixes.Has(netip.MustParseAddr("1.2.3.4")) {
		t.Fatalf("error %v, %d entries, %d bad %v; want none, 1, %d", err, s.Len(), s.Bad.Count, s.Bad.First, len(bad))
	}
}

func TestRangesThatTouchAreOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"10.0.0.0/25 10.0.0.128/25", "10.0.0.0/24"},
		{"10.0.0.0/24 10.0.0.7", "10.0.0.0/24"},
		{"10.0.1.0/24 10.0.0.0/24", "10.0.0.0/23"},
		{"10.0.1.0/24 10.0.2.0/24", "10.0.1.0/24 10.0.2.0/24"},
		{"2001:db8::/65 2001:db8:0:0:8000::/65", "2001:db8::/64"},
		{"2001:db8::/64 2001:db8:0:1::/64 1.1.1.1", "1.1.1.1/32 2001:db8::/63"},
		{"255.255.255.255 255.255.255.254", "255.255.255.254/31"},
		{"0.0.0.0/1 128.0.0.0/1", "0.0.0.0/0"},
		{"::/1 8000::/1", "::/0"},
	} {
		s, err := ruleset.Inline(ruleset.IPCIDR, strings.Fields(c.in))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for p := range s.Prefixes.All() {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.in, got, c.want)
		}
	}
}

// prefix draws prefixes that often overlap, of both families.
func prefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 128, 255}), 4, 4).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "v6") {
			six := [16]byte{0x20, 1, b[0], 7: b[1], 8: b[2], 15: b[3]}
			p, _ := netip.AddrFrom16(six).Prefix(rapid.IntRange(0, 128).Draw(t, "bits"))
			return p
		}
		p, _ := netip.AddrFrom4([4]byte(b)).Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
		return p
	})
}

func TestAddressSetAnswersAsItsPrefixesOneByOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(prefix(), 0, 20).Draw(t, "prefixes")
		var entries []string
		for _, p := range ps {
			entries = append(entries, p.String())
		}
		s, err := ruleset.Inline(ruleset.IPCIDR, entries)
		if err != nil || s.Bad.Count > 0 {
			t.Fatal(err, s.Bad)
		}
		has := func(a netip.Addr) bool {
			return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		for range 20 {
			a := prefix().Draw(t, "address").Addr()
			for _, a := range []netip.Addr{a, a.Prev(), a.Next()} {
				if a.IsValid() && s.Prefixes.Has(a) != has(a) {
					t.Fatalf("%s: got %v", a, !has(a))
				}
			}
		}
		for p := range s.Prefixes.All() {
			if !has(p.Addr()) || p != p.Masked() {
				t.Fatalf("%s is in All", p)
			}
		}
	})
}

func FuzzAddressEntry(f *testing.F) {
	for _, s := range []string{"1.2.3.4/8", "::1", "::ffff:1.2.3.4/120", "fe80::%a/10", "1.2.3.4/032", "%/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		s, err := ruleset.Inline(ruleset.IPCIDR, []string{entry})
		if err != nil {
			t.Fatal(err)
		}
		p, err := netip.ParsePrefix(entry)
		if err == nil && s.Len() != 1 {
			t.Fatalf("%s is refused", entry)
		}
		if err == nil && !s.Prefixes.Has(p.Addr()) && (!p.Addr().Is4In6() || p.Bits() >= 96) {
			t.Fatalf("%s is not in its own set", p)
		}
	})
}

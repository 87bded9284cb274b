package geo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// home makes a directory with the files.
func home(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		put(t, dir, name, data)
	}
	return dir
}

func put(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// bytesField and numberField encode protocol buffers.
func bytesField(num int, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := binary.AppendUvarint(nil, uint64(num)<<3|2)
	return append(binary.AppendUvarint(out, uint64(len(body))), body...)
}

func numberField(num int, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(num)<<3), n)
}

func site(typ uint64, value string, attrs ...string) []byte {
	parts := [][]byte{numberField(1, typ), bytesField(2, []byte(value))}
	for _, a := range attrs {
		parts = append(parts, bytesField(3, bytesField(1, []byte(a)), numberField(2, 1)))
	}
	return bytesField(2, parts...)
}

func cidr(p string) []byte {
	q := netip.MustParsePrefix(p)
	return bytesField(2, bytesField(1, q.Addr().AsSlice()), numberField(2, uint64(q.Bits())))
}

func list(name string, entries ...[]byte) []byte {
	return bytesField(1, append([][]byte{bytesField(1, []byte(name))}, entries...)...)
}

func siteFile() []byte {
	return slices.Concat(
		list("OTHER", site(2, "other.test")),
		list("CN", site(0, "Key"), site(1, `^re[0-9]+\.test$`), site(1, `(?!bad)`), site(2, "Domain.test"), site(3, "full.test", "ads"), site(2, "two.test", "ads", "!cn")),
		list("geolocation-!cn", site(2, "abroad.test")))
}

func TestSitesMatchByTheTypeOfEachEntry(t *testing.T) {
	t.Parallel()
	d := New(home(t, map[string][]byte{"geoSITE.dat": siteFile()})).View(false)
	for _, c := range []struct {
		list    string
		size    int
		yes, no string
	}{
		{"cn", 6, "a.key.b re12.test domain.test x.domain.test full.test", "other.test x.full.test re.test ba.testx"},
		{"Cn@ADS", 2, "full.test x.two.test", "domain.test key"},
		{"cn@ads@!cn", 1, "two.test", "full.test"},
		{"cn@none", 0, "", "full.test domain.test"},
		{"!cn", 6, "other.test", "domain.test"},
		{"geolocation-!cn", 1, "abroad.test", "domain.test"},
	} {
		s, err := d.Sites(c.list)
		if err != nil {
			t.Errorf("%s: %v", c.list, err)
			continue
		}
		if s.Len() != c.size {
			t.Errorf("%s: %d entries, want %d", c.list, s.Len(), c.size)
		}
		for _, h := range strings.Fields(c.yes) {
			if !s.Has(h) || s.Entry(h) == "" {
				t.Errorf("%s does not have %s", c.list, h)
			}
		}
		for _, h := range append(strings.Fields(c.no), "") {
			if s.Has(h) || s.Entry(h) != "" {
				t.Errorf("%s has %q", c.list, h)
			}
		}
	}
}

func TestMissingOrBrokenDataIsAnErrorForWhoAsks(t *testing.T) {
	t.Parallel()
	d := New(t.TempDir()).View(false)
	_, site := d.Sites("cn")
	_, country := d.NeedCountry("cn")
	_, set := d.IPSet("cn")
	for name, err := range map[string]error{"sites": site, "country": country, "set": set, "asn": d.NeedASN()} {
		if !errors.Is(err, ErrMissing) {
			t.Errorf("%s: got %v, want ErrMissing", name, err)
		}
	}
	if d.InCountry(ip("1.1.1.1"), "cn") || d.Country(ip("1.1.1.1")) != nil {
		t.Error("data that is missing knows a country")
	}
	if _, ok := d.ASN(ip("1.1.1.1")); ok {
		t.Error("data that is missing knows a network")
	}

	junk := []byte("<html>not found</html>")
	d = New(home(t, map[string][]byte{"GeoSite.dat": junk, "GeoIP.dat": junk, "Country.mmdb": junk, "ASN.mmdb": database("City", map[string]any{"1.0.0.0/8": "x"})})).View(false)
	if _, err := d.Sites("cn"); !errors.Is(err, errWire) {
		t.Errorf("sites: %v", err)
	}
	if _, err := d.NeedCountry("cn"); err == nil || !strings.Contains(err.Error(), "Country.mmdb") {
		t.Errorf("country: %v", err)
	}
	if err := d.NeedASN(); err == nil || !strings.Contains(err.Error(), `"City"`) {
		t.Errorf("asn: %v", err)
	}
}

func TestUnknownListNamesTheNearest(t *testing.T) {
	t.Parallel()
	d := New(home(t, map[string][]byte{"GeoSite.dat": siteFile()})).View(false)

	_, err := d.Sites("othre")

	if !errors.Is(err, ErrNoList) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("got %v", err)
	}
}

func TestCountriesFromListsAreSetsOfAddresses(t *testing.T) {
	t.Parallel()
	d := New(home(t, map[string][]byte{"GeoIP.dat": slices.Concat(
		list("CN", cidr("1.2.0.0/16"), cidr("2001:db8::/32"), cidr("1.3.7.7/16")), list("us", cidr("8.0.0.0/8")))})).View(true)

	size, err := d.NeedCountry("cn")

	if err != nil || size != 3 {
		t.Fatal(size, err)
	}
	for a, want := range map[string]bool{"1.2.3.4": true, "2001:db8::1": true, "1.3.0.0": true, "8.8.8.8": false, "::ffff:1.2.3.4": true} {
		if d.InCountry(ip(a), "cn") != want {
			t.Errorf("%s: got %v", a, !want)
		}
	}
	if _, err := d.NeedCountry("!cn"); err != nil || d.InCountry(ip("1.2.3.4"), "!cn") || !d.InCountry(ip("8.8.8.8"), "!cn") {
		t.Errorf("!cn is not the rest: %v", err)
	}
	if d.InCountry(ip("8.8.8.8"), "us") {
		t.Error("a list that nobody needed is there")
	}
}

func TestDatabasesOfEachTypeAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ    string
		record any
		want   string
	}{
		{"sing-geoip", "CN", "cn"},
		{"Meta-geoip0", "cn", "cn"},
		{"Meta-geoip0", []any{"cn", "Telegram"}, "cn telegram"},
		{"GeoLite2-Country", map[string]any{"country": map[string]any{"iso_code": "CN"}}, "cn"},
		{"Anything", map[string]any{"continent": map[string]any{"code": "AS"}}, ""},
	} {
		d := New(home(t, map[string][]byte{"geoip.metadb": database(c.typ, map[string]any{"1.0.0.0/8": c.record})})).View(false)
		if _, err := d.NeedCountry("cn"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second answer is the kept one
			if got := strings.Join(d.Country(ip("1.2.3.4")), " "); got != c.want {
				t.Errorf("%s: got %q, want %q", c.typ, got, c.want)
			}
		}
		if d.Country(ip("2.2.2.2")) != nil || d.InCountry(ip("1.2.3.4"), "cn") != (c.want != "") || d.InCountry(ip("1.2.3.4"), "us") {
			t.Errorf("%s: an address is where it is not", c.typ)
		}
	}
	for typ, record := range map[string]any{
		"GeoLite2-ASN":                        map[string]any{"autonomous_system_number": 13335, "autonomous_system_organization": "Org"},
		"DBIP-ASN-Lite (compat=GeoLite2-ASN)": map[string]any{"autonomous_system_number": 13335, "autonomous_system_organization": "Org"},
		"ipinfo generic_asn_free.mmdb":        map[string]any{"asn": "AS13335", "name": "Org"},
	} {
		d := New(home(t, map[string][]byte{"ASN.mmdb": database(typ, map[string]any{"1.0.0.0/8": record})})).View(false)
		if err := d.NeedASN(); err != nil {
			t.Fatal(err)
		}
		if got, ok := d.ASN(ip("1.2.3.4")); !ok || got != (framework.ASN{Number: 13335, Org: "Org"}) {
			t.Errorf("%s: got %v", typ, got)
		}
		if _, ok := d.ASN(ip("2.2.2.2")); ok {
			t.Errorf("%s: an address has a network that it has not", typ)
		}
	}
}

func TestFirstFileInTheDirectoryCounts(t *testing.T) {
	t.Parallel()
	d := New(home(t, map[string][]byte{
		"geoip.metadb": database("Meta-geoip0", map[string]any{"1.0.0.0/8": "new"}),
		"COUNTRY.MMDB": database("sing-geoip", map[string]any{"1.0.0.0/8": "old"}),
	})).View(false)

	_, err := d.NeedCountry("old")

	if err != nil || !d.InCountry(ip("1.1.1.1"), "old") {
		t.Errorf("got %v, %v", d.Country(ip("1.1.1.1")), err)
	}
}

func TestReloadExchangesWhatIsOpenInPlace(t *testing.T) {
	t.Parallel()
	dir := home(t, map[string][]byte{
		"GeoSite.dat": siteFile(), "GeoIP.dat": list("cn", cidr("1.0.0.0/8")),
		"geoip.metadb": database("Meta-geoip0", map[string]any{"1.0.0.0/8": "aa"}),
		"ASN.mmdb":     database("GeoLite2-ASN", map[string]any{"1.0.0.0/8": map[string]any{"autonomous_system_number": 1}}),
	})
	d := New(dir).View(false)
	s, err := d.Sites("other")
	_, e2 := d.NeedCountry("aa")
	_, e3 := d.IPSet("cn")
	if err := errors.Join(err, e2, e3, d.NeedASN()); err != nil {
		t.Fatal(err)
	}
	if again, _ := d.Sites("OTHER"); again != s {
		t.Error("the same list is there twice")
	}
	put(t, dir, "GeoSite.dat", list("other", site(2, "new.test")))
	put(t, dir, "GeoIP.dat", list("cn", cidr("2.0.0.0/8")))
	put(t, dir, "geoip.metadb", database("Meta-geoip0", map[string]any{"1.0.0.0/8": "bb"}))
	put(t, dir, "ASN.mmdb", database("GeoLite2-ASN", map[string]any{"1.0.0.0/8": map[string]any{"autonomous_system_number": 2}}))

	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}

	asn, _ := d.ASN(ip("1.1.1.1"))
	set, _ := d.IPSet("cn")
	if !s.Has("new.test") || s.Has("other.test") || !d.InCountry(ip("1.1.1.1"), "bb") || asn.Number != 2 || !set.Has(ip("2.2.2.2")) {
		t.Error("old data is in force after a reload")
	}

	put(t, dir, "GeoSite.dat", []byte("broken"))
	put(t, dir, "geoip.metadb", []byte("broken"))
	if err := d.Reload(); err == nil || !s.Has("new.test") || !d.InCountry(ip("1.1.1.1"), "bb") {
		t.Errorf("a broken file did not leave the old data: %v", err)
	}

	runtime.KeepAlive(s)
	s = nil
	runtime.GC()
	put(t, dir, "geoip.metadb", database("Meta-geoip0", map[string]any{"1.0.0.0/8": "bb"}))
	if err := d.Reload(); err != nil {
		t.Errorf("a list that nobody holds is read again: %v", err)
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	d := New(home(t, map[string][]byte{
		"GeoSite.dat":  siteFile(),
		"geoip.metadb": database("Meta-geoip0", map[string]any{"1.0.0.0/8": "aa"}),
		"ASN.mmdb":     database("GeoLite2-ASN", map[string]any{"1.0.0.0/8": map[string]any{"autonomous_system_number": 1}}),
	})).View(false)
	s, err := d.Sites("cn")
	_, e2 := d.NeedCountry("aa")
	if err := errors.Join(err, e2, d.NeedASN()); err != nil {
		t.Fatal(err)
	}
	a := ip("1.2.3.4")
	got := testing.AllocsPerRun(100, func() {
		d.InCountry(a, "aa")
		d.ASN(a)
		s.Has("www.none.example")
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

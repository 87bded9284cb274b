package geo

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/tests/require"
)

// shared is the folder of public data beside the checkout.
func shared(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "testdata", "geo")
	_, err := os.Stat(dir)
	require.That(t, err == nil, "the public data in ../shared/testdata/geo")
	return dir
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPublicDataLoadsAndAgreesWithItsLists(t *testing.T) {
	t.Parallel()
	src := shared(t)
	files := map[string][]byte{"GeoSite.dat": read(t, filepath.Join(src, "geosite-lite.dat")), "GeoIP.dat": read(t, filepath.Join(src, "geoip-lite.dat"))}
	for _, name := range []string{"country-lite.mmdb", "geoip-lite.metadb"} {
		files["geoip.metadb"] = read(t, filepath.Join(src, name))
		d := New(home(t, files)).View(false)
		if _, err := d.NeedCountry("cn"); err != nil {
			t.Fatal(err)
		}
		found := 0
		for p := range strings.FieldsSeq(string(read(t, filepath.Join(src, "geoip", "cn.list")))) {
			if d.InCountry(netip.MustParsePrefix(p).Addr(), "cn") {
				found++
			}
		}
		if found < 1000 {
			t.Errorf("%s: %d of the addresses of cn.list are in cn", name, found)
		}
	}
	d := New(home(t, files)).View(true)
	for _, f := range []string{"GeoSite.dat", "GeoIP.dat"} {
		_, known, err := scanLists(bytes.NewReader(files[f]), int64(len(files[f])), "no such list")
		if err != nil || len(known) == 0 {
			t.Fatalf("%s: %d lists, %v", f, len(known), err)
		}
		for _, name := range known {
			size := 0
			if f == "GeoIP.dat" {
				size, err = d.NeedCountry(name)
			} else {
				var s framework.Sites
				if s, err = d.Sites(name); err == nil {
					size = s.Len()
				}
			}
			if err != nil || size == 0 {
				t.Errorf("%s, %s: %d entries, %v", f, name, size, err)
			}
		}
	}
}

func FuzzLists(f *testing.F) {
	f.Add(siteFile())
	f.Add(list("cn", cidr("1.0.0.0/8"), cidr("::/0")))
	f.Fuzz(func(t *testing.T, data []byte) {
		body, _, err := scanLists(bytes.NewReader(data), int64(len(data)), "cn")
		if err != nil || body == nil {
			return
		}
		if m, err := decodeSites(body, []string{"ads"}); err == nil {
			m.has("full.test")
		}
		if s, err := decodeIPSet(body); err == nil {
			s.Has(ip("1.1.1.1"))
		}
	})
}

func FuzzDatabase(f *testing.F) {
	f.Add(database("Meta-geoip0", map[string]any{"1.0.0.0/8": []any{"aa", "bb"}}), "1.1.1.1")
	f.Add(database("GeoLite2-Country", map[string]any{"1.0.0.0/8": map[string]any{"country": map[string]any{"iso_code": "CN"}}}), "::1")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, addr string) {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return
		}
		put(t, dir, "geoip.metadb", data)
		put(t, dir, "asn.mmdb", data)
		d := New(dir).View(false)
		_, err = d.NeedCountry("cn")
		if err == nil {
			d.InCountry(a, "cn")
		}
		if d.NeedASN() == nil {
			d.ASN(a)
		}
	})
}

func BenchmarkCountry(b *testing.B) {
	src := shared(b)
	d := New(home(b, map[string][]byte{"geoip.metadb": read(b, filepath.Join(src, "geoip-lite.metadb"))})).View(false)
	if _, err := d.NeedCountry("cn"); err != nil {
		b.Fatal(err)
	}
	a := ip("1.0.16.1")
	b.ReportAllocs()
	for b.Loop() {
		d.InCountry(a, "cn")
	}
}

func BenchmarkSites(b *testing.B) {
	src := shared(b)
	d := New(home(b, map[string][]byte{"GeoSite.dat": read(b, filepath.Join(src, "geosite-lite.dat"))})).View(false)
	s, err := d.Sites("google")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Has("www.none.example")
	}
}

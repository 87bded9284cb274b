package geo

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

// data is a host with given data: aa is 1.0.0.0/8, which AS7 announces.
type given struct{ framework.Host }

func (given) Geo() framework.Geo { return geoData{} }

type geoData struct{}

func (geoData) NeedCountry(code string) (int, error) {
	if strings.HasPrefix(code, "!") {
		return 0, fmt.Errorf("%s: %w", code, framework.ErrUnsupported)
	}
	if code != "aa" {
		return 0, errors.New("no such country")
	}
	return 3, nil
}

func (geoData) NeedASN() error { return nil }

func (geoData) Sites(list string) (framework.Sites, error) {
	switch list {
	case "list", "list@attr":
		return names{"a.test", "b.test"}, nil
	case "list@none":
		return names{}, nil
	}
	return nil, errors.New("no such list")
}

type names []string

func (n names) Has(host string) bool { return n.Entry(host) != "" }
func (n names) Len() int             { return len(n) }
func (n names) Entry(host string) string {
	for _, s := range n {
		if s == host {
			return s
		}
	}
	return ""
}

type facts struct{ ruletest.Facts }

// InCountry implements framework.GeoFacts.
func (facts) InCountry(ip netip.Addr, code string) bool {
	return code == "aa" && netip.MustParsePrefix("1.0.0.0/8").Contains(ip)
}

// ASN implements framework.GeoFacts.
func (facts) ASN(ip netip.Addr) (framework.ASN, bool) {
	return framework.ASN{Number: 7}, netip.MustParsePrefix("1.0.0.0/8").Contains(ip)
}

func build(t testing.TB, keyword, payload string, params ...string) (framework.Rule, error) {
	t.Helper()
	return ruletest.Try(t, ruletest.Descriptor(t, Descriptors(), keyword).With(given{}), payload, params...)
}

func TestLabelsAreTheAPIs(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{"GEOIP": "GeoIP", "SRC-GEOIP": "SrcGeoIP", "IP-ASN": "IPASN", "SRC-IP-ASN": "SrcIPASN", "GEOSITE": "GeoSite"})
}

func TestOnlyDestinationRulesNeedAnAddress(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		if got, want := d.Has(framework.CapNeedIP), d.Type == "GEOIP" || d.Type == "IP-ASN"; got != want {
			t.Errorf("%s: got %v, want %v", d.Type, got, want)
		}
	}
}

func TestAddressMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keyword, payload string
		params           []string
		source           bool
		yes, no          string
	}{
		{"GEOIP", "AA", nil, false, "1.2.3.4 ::ffff:1.2.3.4", "2.2.2.2 ::1"},
		{"GEOIP", "aa", []string{"src"}, true, "1.2.3.4", "2.2.2.2"},
		{"SRC-GEOIP", "aa", nil, true, "1.2.3.4", "2.2.2.2"},
		{"IP-ASN", "7", nil, false, "1.2.3.4", "2.2.2.2"},
		{"IP-ASN", "8", nil, false, "", "1.2.3.4"},
		{"IP-ASN", "7", []string{"no-resolve", "src"}, true, "1.2.3.4", "2.2.2.2"},
		{"SRC-IP-ASN", "7", nil, true, "1.2.3.4", "2.2.2.2"},
		{"GEOIP", "LAN", nil, false, "10.0.0.1 192.168.1.1 127.0.0.1 0.0.0.0 224.0.0.1 169.254.1.1 ::1 fe80::1 fc00::1 ff02::1 ::", "1.2.3.4 2001:db8::1 100.64.0.1"},
		{"SRC-GEOIP", "lan", nil, true, "10.0.0.1", "1.1.1.1"},
	} {
		r, err := build(t, c.keyword, c.payload, c.params...)
		if err != nil {
			t.Errorf("%s,%s: %v", c.keyword, c.payload, err)
			continue
		}
		for _, a := range strings.Fields(c.yes) {
			if !holds(t, r, a, c.source) {
				t.Errorf("%s,%s does not hold for %s", c.keyword, c.payload, a)
			}
			if holds(t, r, a, !c.source) {
				t.Errorf("%s,%s holds for %s on the other side", c.keyword, c.payload, a)
			}
		}
		for _, a := range strings.Fields(c.no) {
			if holds(t, r, a, c.source) {
				t.Errorf("%s,%s holds for %s", c.keyword, c.payload, a)
			}
		}
	}
}

func holds(t testing.TB, r framework.Rule, ip string, source bool) bool {
	t.Helper()
	a := netip.MustParseAddr(ip)
	if source {
		return ruletest.Match(t, r, &framework.Flow{Source: netip.AddrPortFrom(a, 1)}, facts{})
	}
	return ruletest.Match(t, r, &framework.Flow{}, facts{ruletest.Facts{Address: a}})
}

func TestSiteMatches(t *testing.T) {
	t.Parallel()
	r, err := build(t, "GEOSITE", "list@attr")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"a.test": true, "b.test": true, "c.test": false, "": false} {
		f := facts{ruletest.Facts{Name: host}}
		if ruletest.Match(t, r, &framework.Flow{}, f) != want || (r.(framework.EntryNamer).Entry(nil, f) != "") != want {
			t.Errorf("%q: want %v", host, want)
		}
	}
	if got := r.(framework.Sizer).Size(); got != 2 {
		t.Errorf("size %d, want 2", got)
	}
}

func TestWhatNeverHoldsWarns(t *testing.T) {
	t.Parallel()
	for payload, keyword := range map[string]string{"list@none": "GEOSITE", "!aa": "GEOIP"} {
		r, err := build(t, keyword, payload)
		if err != nil {
			t.Fatal(err)
		}
		if w := r.(framework.Warner).Warning(); w == "" {
			t.Errorf("%s,%s does not warn", keyword, payload)
		}
	}
	for payload, keyword := range map[string]string{"list": "GEOSITE", "aa": "GEOIP"} {
		r, err := build(t, keyword, payload)
		if err != nil || r.(framework.Warner).Warning() != "" {
			t.Errorf("%s,%s warns", keyword, payload)
		}
	}
}

func TestMissingDataIsAnErrorOfTheRule(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"GEOSITE", "gone"}, {"GEOIP", "zz"}} {
		d := ruletest.Descriptor(t, Descriptors(), c[0]).With(given{})
		if _, err := framework.Build[framework.Rule](t.Context(), d, nil, args{framework.RuleArgs{Payload: c[1]}}); err == nil {
			t.Errorf("%s,%s: got a rule, want an error", c[0], c[1])
		}
	}
	d := ruletest.Descriptor(t, Descriptors(), "GEOIP").With(struct{ framework.Host }{})
	if _, err := framework.Build[framework.Rule](t.Context(), d, nil, args{framework.RuleArgs{Payload: "aa"}}); !errors.Is(err, errNoData) {
		t.Errorf("a host without data: %v", err)
	}
}

type args struct{ framework.RuleArgs }

// Decode implements framework.Source.
func (s args) Decode(into any) error {
	*into.(*framework.RuleArgs) = s.RuleArgs
	return nil
}

func TestBadPayloadIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		ruletest.Refuse(t, d, "", " ")
	}
	for _, c := range [][2]string{{"IP-ASN", "AS7"}, {"IP-ASN", "-7"}, {"IP-ASN", "4294967296"}, {"GEOSITE", "@ads"}, {"GEOSITE", "!"}, {"GEOSITE", "list@"}, {"GEOIP", "!"}} {
		ruletest.Refuse(t, ruletest.Descriptor(t, Descriptors(), c[0]), c[1])
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f := &facts{ruletest.Facts{Name: "a.test", Address: netip.MustParseAddr("1.2.3.4")}}
	for keyword, payload := range map[string]string{"GEOIP": "lan", "SRC-GEOIP": "aa", "IP-ASN": "7", "GEOSITE": "list"} {
		r, err := build(t, keyword, payload)
		if err != nil {
			t.Fatal(err)
		}
		ruletest.NoAllocs(t, r, &framework.Flow{}, f)
	}
}

func FuzzPayload(f *testing.F) {
	for _, s := range []string{"cn", "!cn", "lan", "list@a@b", "13335", "@", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, d := range Descriptors() {
			if r, err := ruletest.Try(t, d, payload); err == nil {
				ruletest.Match(t, r, &framework.Flow{}, facts{})
			}
		}
	})
}

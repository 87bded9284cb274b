package ip

import (
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestLabelsAreTheAPIs(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{
		"IP-CIDR": "IPCIDR", "IP-CIDR6": "IPCIDR", "SRC-IP-CIDR": "SrcIPCIDR",
		"IP-SUFFIX": "IPSuffix", "SRC-IP-SUFFIX": "SrcIPSuffix",
	})
}

func TestOnlyDestinationRulesNeedAnAddress(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		if got, want := d.Has(framework.CapNeedIP), d.Type[:3] != "SRC"; got != want {
			t.Errorf("%s: got %v, want %v", d.Type, got, want)
		}
	}
}

func TestAddressMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keyword, payload string
		yes, no          []string
	}{
		{"IP-CIDR", "192.0.2.0/24", []string{"192.0.2.0", "192.0.2.255", "::ffff:192.0.2.1"}, []string{"192.0.3.0", "2001:db8::1"}},
		{"IP-CIDR", "192.0.2.77/24", []string{"192.0.2.1"}, []string{"192.0.3.77"}},
		{"IP-CIDR", "2001:db8::/32", []string{"2001:db8::1"}, []string{"2001:db9::1", "192.0.2.1"}},
		{"IP-CIDR6", "192.0.2.0/24", []string{"192.0.2.1"}, []string{"192.0.3.1"}},
		{"IP-CIDR6", "fe80::/10", []string{"fe80::1", "fe80::1%eth0"}, []string{"fec0::1"}},
		{"IP-CIDR", "::ffff:192.0.2.0/120", []string{"192.0.2.1"}, []string{"192.0.3.1"}},
		{"IP-CIDR", "0.0.0.0/0", []string{"192.0.2.1"}, []string{"::1"}},
		{"SRC-IP-CIDR", "10.0.0.0/8", []string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"11.1.2.3"}},
		{"IP-SUFFIX", "0.0.0.7/8", []string{"192.0.2.7", "10.9.8.7"}, []string{"192.0.2.6", "::7"}},
		{"IP-SUFFIX", "0.0.2.7/12", []string{"192.0.2.7", "1.1.18.7"}, []string{"192.0.3.7", "192.0.2.8"}},
		{"IP-SUFFIX", "192.0.2.7/32", []string{"192.0.2.7"}, []string{"193.0.2.7"}},
		{"IP-SUFFIX", "192.0.2.7/0", []string{"1.2.3.4"}, []string{"::1"}},
		{"IP-SUFFIX", "::1/128", []string{"::1"}, []string{"::2", "1::1", "0.0.0.1"}},
		{"IP-SUFFIX", "::5/3", []string{"::5", "2001::d"}, []string{"::4"}},
		{"SRC-IP-SUFFIX", "0.0.0.7/8", []string{"192.0.2.7"}, []string{"192.0.2.8"}},
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c.keyword), c.payload)
		source := c.keyword[:3] == "SRC"
		for _, ip := range c.yes {
			if !holds(t, r, ip, source) {
				t.Errorf("%s,%s does not hold for %s", c.keyword, c.payload, ip)
			}
		}
		for _, ip := range append(c.no, "") {
			if holds(t, r, ip, source) {
				t.Errorf("%s,%s holds for %q", c.keyword, c.payload, ip)
			}
		}
	}
}

// holds asks r about an address as the source's or the destination's.
func holds(t testing.TB, r framework.Rule, ip string, source bool) bool {
	t.Helper()
	var a netip.Addr
	if ip != "" {
		a = netip.MustParseAddr(ip)
	}
	if source {
		return ruletest.Match(t, r, &framework.Flow{Source: netip.AddrPortFrom(a, 1)}, ruletest.Facts{})
	}
	return ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{Address: a})
}

func TestParameterSrcLooksAtTheSource(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"IP-CIDR", "10.0.0.0/8"}, {"IP-SUFFIX", "0.0.0.1/8"}} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c[0]), c[1], "no-resolve", "src")

		if !holds(t, r, "10.0.0.1", true) || holds(t, r, "10.0.0.1", false) {
			t.Errorf("%s,%s,src does not look at the source", c[0], c[1])
		}
	}
}

func TestPayloadKeepsHostBits(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		"192.0.2.0/24": "192.0.2.0/24", "192.0.2.77/24": "192.0.2.77/24", "2001:DB8:0::/32": "2001:db8::/32",
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), "IP-CIDR"), payload)
		if got := ruletest.Payload(r, payload); got != want {
			t.Errorf("%s: got %s, want %s", payload, got, want)
		}
	}
}

func TestWhatIsNoPrefixIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		ruletest.Refuse(t, d, "", " ", "192.0.2.1", "::1", "192.0.2.0/33", "::/129", "192.0.2/24", "a/8", "192.0.2.0/", "fe80::%eth0/10", "1.2.3.4/-1")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.9")
	f, facts := &framework.Flow{Source: netip.AddrPortFrom(a, 1)}, &ruletest.Facts{Address: a}
	for _, d := range Descriptors() {
		ruletest.NoAllocs(t, ruletest.Build(t, d, "192.0.2.0/24"), f, facts)
	}
}

func FuzzPayload(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "::/0", "::ffff:1.2.3.4/120", "1.2.3.4", "1.2.3.4/33"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, d := range Descriptors() {
			r, err := ruletest.Try(t, d, payload)
			if err != nil {
				continue
			}
			holds(t, r, "192.0.2.1", true)
			holds(t, r, "2001:db8::1", false)
			if _, err := netip.ParsePrefix(ruletest.Payload(r, payload)); err != nil {
				t.Fatalf("%q: %v", payload, err)
			}
		}
	})
}

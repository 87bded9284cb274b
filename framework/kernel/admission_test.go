package kernel

import (
	"net/netip"
	"testing"
)

func TestAdmissionFollowsUsersAndPrefixes(t *testing.T) {
	t.Parallel()
	prefixes := func(ps ...string) (out []netip.Prefix) {
		for _, p := range ps {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	var a admission
	a.rules.Store(newAdmissionRules([]string{"me:secret", "nobody", "colon:a:b", "twice:1", "twice:2", "empty:"},
		prefixes("10.0.0.0/8", "fe80::/10"), prefixes("0.0.0.0/0", "fe80::/10"), prefixes("192.0.2.0/24")))

	for source, want := range map[string][2]bool{ // allowed, required
		"10.1.2.3": {true, false}, "::ffff:10.1.2.3": {true, false}, "fe80::1%eth0": {true, false},
		"192.0.2.1": {false, true}, "::ffff:192.0.2.1": {false, true}, "203.0.113.1": {true, true}, "2001:db8::1": {false, true},
	} {
		ip := netip.MustParseAddr(source)
		if got := [2]bool{a.Allowed(ip), a.Required(ip)}; got != want {
			t.Errorf("%s: allowed and required %v, want %v", source, got, want)
		}
	}
	for pair, want := range map[[2]string]bool{
		{"me", "secret"}: true, {"me", ""}: false, {"me", "Secret"}: false, {"", ""}: false, {"nobody", ""}: false,
		{"colon", "a:b"}: true, {"twice", "2"}: true, {"twice", "1"}: false, {"empty", ""}: true,
	} {
		if got := a.Check(pair[0], pair[1]); got != want {
			t.Errorf("%q: got %v, want %v", pair, got, want)
		}
	}

	a.rules.Store(newAdmissionRules(nil, nil, prefixes("0.0.0.0/0"), nil))
	if a.Required(netip.MustParseAddr("203.0.113.1")) || a.Check("me", "secret") {
		t.Error("users that are gone count")
	}
}

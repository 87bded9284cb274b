package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// TestHostsPatternsFollowTheirOrder holds the table of patterns of
// config-general §1: an exact label, then *, then a suffix, decided label by
// label from the top-level domain.
func TestHostsPatternsFollowTheirOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.apply(t, `
hosts:
  '+.a.com': 192.0.2.1
  '*.a.com': 192.0.2.2
  'x.a.com': 192.0.2.3
  '.b.com': 192.0.2.4
  'time.*.net': 192.0.2.5
  'fr.*.*': 192.0.2.6
  '*': 192.0.2.7
  '+.*.pw.t': 192.0.2.8
  'a*b.t': 192.0.2.9
  'Upper.Test': 192.0.2.10
  'two.test': [192.0.2.11, '2001:db8::1']
  'deep.x.c.com': 192.0.2.12
  '*.c.com': 192.0.2.13
`)
	for name, want := range map[string]int{
		"a.com": 1, "y.x.a.com": 1, "z.a.com": 2, "x.a.com": 3, "xa.com": 0,
		"c.b.com": 4, "d.c.b.com": 4, "b.com": 0,
		"time.x.net": 5, "time.net": 0, "time.x.y.net": 0, "fr.x.y": 6, "fr.x": 0,
		"nas": 7, "x.pw.t": 8, "y.x.pw.t": 8, "pw.t": 0, "axb.t": 0,
		"upper.test": 10, "two.test": 11, "deep.x.c.com": 12, "x.c.com": 13, "other.x.c.com": 0,
	} {
		got, ips := h.Snapshot().Hosts.Lookup(name)
		ok := want == 0 && ips == nil || want != 0 && len(ips) > 0 && ips[0] == netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", want))
		if !ok || got != name {
			t.Errorf("%s: got %s, %v, want .%d", name, got, ips, want)
		}
	}
	if _, ips := h.Snapshot().Hosts.Lookup("two.test"); len(ips) != 2 {
		t.Errorf("a list: %v", ips)
	}
}

func TestHostsFollowAliases(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.apply(t, `
hosts:
  a.test: b.test
  b.test: c.test
  c.test: 192.0.2.1
  out.test: elsewhere.example
  '*.loop.test': x.loop.test
  here.test: localhost.test
  localhost.test: [127.0.0.1]
  mine.test: lan
`)
	lookup := h.Snapshot().Hosts.Lookup

	for name, want := range map[string]string{"a.test": "c.test", "out.test": "elsewhere.example", "nothing.test": "nothing.test", "here.test": "localhost.test"} {
		if got, _ := lookup(name); got != want {
			t.Errorf("%s leads to %s, want %s", name, got, want)
		}
	}
	if _, ips := lookup("a.test"); !slices.Equal(ips, []netip.Addr{netip.MustParseAddr("192.0.2.1")}) {
		t.Errorf("a chain ends at %v", ips)
	}
	if _, ips := lookup("y.loop.test"); ips != nil {
		t.Errorf("a loop of patterns has addresses: %v", ips)
	}
	if _, ips := lookup("localhost"); !slices.Equal(ips, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}) {
		t.Errorf("localhost: %v", ips)
	}
	_, own := lookup("mine.test")
	for _, ip := range own {
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.Is4In6() {
			t.Errorf("lan has %v", ip)
		}
	}
}

func TestRulesResolveIPv4FirstAndIPv6OnlyWhenItIsOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	const doc = "hosts: {both.test: ['2001:db8::1', 192.0.2.1], six.test: '2001:db8::2'}\nipv6: "
	for on, want := range map[string]string{"true": "[192.0.2.1 2001:db8::1]", "false": "[192.0.2.1]"} {
		h.apply(t, doc+on)
		ips, err := h.Snapshot().Resolver.Lookup(context.Background(), "both.test")
		if err != nil || fmt.Sprint(ips) != want {
			t.Errorf("ipv6 %s: got %v, %v, want %s", on, ips, err, want)
		}
		ips, err = h.Snapshot().Resolver.Lookup(context.Background(), "six.test")
		if on == "true" && err != nil || on == "false" && !errors.Is(err, framework.ErrUnreachable) {
			t.Errorf("ipv6 %s: got %v, %v", on, ips, err)
		}
	}
}

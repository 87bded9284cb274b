package dialer

import (
	"errors"
	"fmt"
	"net/netip"
)

// IPVersion says which address families an outbound uses, as the key
// ip-version does.
type IPVersion uint8

// The versions. Dual takes the family of the resolver's first address first.
const (
	Dual IPVersion = iota
	IPv4
	IPv6
	PreferIPv4
	PreferIPv6
)

var versions = [...]string{Dual: "dual", IPv4: "ipv4", IPv6: "ipv6", PreferIPv4: "ipv4-prefer", PreferIPv6: "ipv6-prefer"}

// String is the version as users write it.
func (v IPVersion) String() string {
	if int(v) < len(versions) {
		return versions[v]
	}
	return fmt.Sprintf("ip-version(%d)", uint8(v))
}

// ParseIPVersion reads a version; "" is Dual. ok is false for unknown text,
// which the peer takes for Dual.
func ParseIPVersion(s string) (v IPVersion, ok bool) {
	for i, name := range versions {
		if s == name {
			return IPVersion(i), true
		}
	}
	return Dual, s == ""
}

var (
	errIPv6Off   = errors.New("ipv6 is switched off (ipv6: false)")
	errNotIPv4   = errors.New("an ipv6 address, but ip-version is ipv4")
	errNotIPv6   = errors.New("an ipv4 address, but ip-version is ipv6")
	errNoAddress = errors.New("the name has no address of an allowed family")
	errNowhere   = errors.New("no destination")
)

// allowed says why ip may not be dialled.
func (d *Dialer) allowed(p *plan, ip netip.Addr) error {
	v6 := ip.Is6() && !ip.Is4In6()
	switch {
	case !ip.IsValid():
		return errNowhere
	case v6 && !p.global.IPv6:
		return errIPv6Off
	case v6 && d.options.IPVersion == IPv4:
		return errNotIPv4
	case !v6 && d.options.IPVersion == IPv6:
		return errNotIPv6
	}
	return nil
}

// families splits ips into the family to try first and the other. It allocates
// and leaves ips as it is, since a resolver may keep it.
func (d *Dialer) families(p *plan, ips []netip.Addr) (first, second []netip.Addr) {
	four := make([]netip.Addr, 0, len(ips))
	six := make([]netip.Addr, 0, len(ips))
	sixFirst := d.options.IPVersion == PreferIPv6
	for i, ip := range ips {
		ip = ip.Unmap()
		if i == 0 && d.options.IPVersion == Dual {
			sixFirst = ip.Is6()
		}
		switch {
		case d.allowed(p, ip) != nil:
		case ip.Is4():
			four = append(four, ip)
		default:
			six = append(six, ip)
		}
	}
	if len(four) == 0 || sixFirst && len(six) > 0 {
		return six, four
	}
	return four, six
}

package kernel

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
)

// hostTable is `hosts:`: names and patterns to addresses or to other names.
// A name is looked up by label from the top-level domain down; at each label
// an exact one goes before *, and * before a suffix.
type hostTable struct{ root hostNode }

type hostNode struct {
	next   map[string]*hostNode // by label; "*" is any one
	here   *hostValue           // the name that ends here
	suffix *hostValue           // names below: .x, +.x
}

type hostValue struct {
	ips   []netip.Addr
	alias string
}

func newHostTable(entries []configs.HostEntry) *hostTable {
	t := &hostTable{}
	t.insert("localhost", &hostValue{ips: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}})
	for _, e := range entries {
		v := &hostValue{ips: e.Addrs, alias: e.Alias}
		if e.LAN {
			v.ips = ownAddresses()
		}
		t.insert(e.Pattern, v)
	}
	return t
}

// insert adds a pattern; a later one replaces an equal earlier one.
func (t *hostTable) insert(pattern string, v *hostValue) {
	below, both := false, false
	if rest, ok := strings.CutPrefix(pattern, "+."); ok {
		pattern, below, both = rest, true, true
	} else if rest, ok := strings.CutPrefix(pattern, "."); ok {
		pattern, below = rest, true
	}
	n := &t.root
	for rest, label := pattern, ""; rest != ""; {
		rest, label = cutLast(rest)
		if n.next == nil {
			n.next = map[string]*hostNode{}
		}
		if n.next[label] == nil {
			n.next[label] = &hostNode{}
		}
		n = n.next[label]
	}
	if below {
		n.suffix = v
	}
	if !below || both {
		n.here = v
	}
}

// cutLast cuts off the last label of a name.
func cutLast(name string) (rest, label string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

func (n *hostNode) find(name string) *hostValue {
	if name == "" {
		return n.here
	}
	rest, label := cutLast(name)
	for _, key := range [...]string{label, "*"} {
		if next := n.next[key]; next != nil {
			if v := next.find(rest); v != nil {
				return v
			}
		}
	}
	return n.suffix
}

// maxAliases bounds a chain of aliases; patterns can make one that the check
// for cycles does not see.
const maxAliases = 16

// Lookup follows aliases from host to where they end.
func (t *hostTable) Lookup(host string) (name string, ips []netip.Addr) {
	for range maxAliases {
		v := t.root.find(host)
		switch {
		case v == nil:
			return host, nil
		case v.alias == "":
			return host, v.ips
		}
		host = v.alias
	}
	return host, nil
}

// ownAddresses are the machine's, loopback and link-local ones left out.
func ownAddresses() (ips []netip.Addr) {
	as, _ := net.InterfaceAddrs()
	for _, a := range as {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			ips = append(ips, ip.Unmap())
		}
	}
	return ips
}

// ruleResolver is the resolver of rules: as resolver, IPv4 first, and without
// IPv6 when that is switched off.
type ruleResolver struct{ k *Kernel }

func (r ruleResolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	all, err := resolver(r).Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	var v4, v6 []netip.Addr
	for _, ip := range all {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	if r.k.dials.Load().IPv6 {
		v4 = append(v4, v6...)
	}
	if len(v4) == 0 {
		return nil, framework.Classed(framework.ErrUnreachable, &net.DNSError{Err: "no address", Name: name, IsNotFound: true})
	}
	return v4, nil
}

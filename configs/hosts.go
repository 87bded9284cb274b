package configs

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// HostEntry is one line of hosts. Exactly one of Addrs, Alias and LAN is set.
type HostEntry struct {
	Pattern string // in lower case
	Addrs   []netip.Addr
	Alias   string // in lower case
	LAN     bool   // the own addresses
	Node    conf.Node
}

// parseHosts reads the hosts map in file order. A bad pattern is a warning and
// leaves its line out; a bad value and a circle of aliases are errors.
func parseHosts(n conf.Node) ([]HostEntry, conf.Problems) {
	var problems conf.Problems
	switch n.Kind() {
	case conf.Absent, conf.Null:
		return nil, nil
	case conf.Map:
	default:
		return nil, conf.Problems{n.Errorf("want a map, got %s", n.Kind())}
	}
	var out []HostEntry
	for _, e := range n.Entries() {
		h, err := hostEntry(e)
		if err != nil {
			problems = append(problems, e.Value.Errorf("%v", err))
			continue
		}
		if err := CheckPattern(e.Key); err != nil {
			problems = append(problems, e.KeyNode.Warnf("%v: the line is ignored", err))
			continue
		}
		out = append(out, h)
	}
	return out, append(problems, circles(out)...)
}

func hostEntry(e conf.Entry) (HostEntry, error) {
	h := HostEntry{Pattern: strings.ToLower(e.Key), Node: e.Value}
	switch e.Value.Kind() {
	case conf.Scalar:
		return h.one(e.Value)
	case conf.List:
		return h.many(e.Value.Items())
	}
	return h, fmt.Errorf("want an address, a list of addresses, a domain or lan, got %s", e.Value.Kind())
}

// one reads an address, a domain or lan.
func (h HostEntry) one(n conf.Node) (HostEntry, error) {
	text, _ := n.Text()
	if !n.IsString() {
		return h, fmt.Errorf("want an address or a domain, got %q", text)
	}
	ip, err := netip.ParseAddr(text)
	switch {
	case err == nil:
		h.Addrs = []netip.Addr{ip.Unmap()}
	case text == "lan":
		h.LAN = true
	case !strings.Contains(text, ".") || CheckPattern(text) != nil || strings.HasPrefix(text, "."):
		return h, fmt.Errorf("%q is neither an address nor a domain with a dot", text)
	default:
		h.Alias = strings.ToLower(text)
	}
	return h, nil
}

// many reads a list: of addresses, or of one domain.
func (h HostEntry) many(items []conf.Node) (HostEntry, error) {
	if len(items) == 0 {
		return h, fmt.Errorf("list is empty")
	}
	if len(items) == 1 {
		if items[0].Kind() != conf.Scalar {
			return h, fmt.Errorf("want an address or a domain, got %s", items[0].Kind())
		}
		return h.one(items[0])
	}
	for _, item := range items {
		text, _ := item.Text()
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return h, fmt.Errorf("%q is not an address: a list of several holds addresses only", text)
		}
		h.Addrs = append(h.Addrs, ip.Unmap())
	}
	return h, nil
}

// circles finds aliases that lead back to themselves, a name to itself too.
// Only exact names are followed: a wildcard may be shadowed by a better match.
func circles(list []HostEntry) conf.Problems {
	next := map[string]string{}
	for _, h := range list {
		if h.Alias != "" {
			next[h.Pattern] = h.Alias
		}
	}
	var out conf.Problems
	for _, h := range list {
		if h.Alias != "" && leadsBack(h.Pattern, next) {
			out = append(out, h.Node.Errorf("alias cycle: %s leads back to itself", h.Pattern))
		}
	}
	return out
}

func leadsBack(start string, next map[string]string) bool {
	at := start
	for range len(next) {
		to, ok := next[at]
		if !ok {
			return false
		}
		if at = to; at == start {
			return true
		}
	}
	return false
}

package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// sets is the names of the rule-providers, to check rule-set: elements.
type sets struct{ names []string }

// missing says which sets of an element do not exist, one text for each.
func (k sets) missing(s string) []string {
	prefix, names, ok := setOf(s)
	if !ok || prefix != "rule-set:" {
		return nil
	}
	var out []string
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(k.names, name) {
			out = append(out, fmt.Sprintf("unknown rule-set %q%s", name, didYouMean(name, k.names)))
		}
	}
	return out
}

// missingIn is missing for the elements of the list at n.
func (k sets) missingIn(n conf.Node, list []string) conf.Problems {
	var out conf.Problems
	for i, s := range list {
		for _, text := range k.missing(s) {
			out = append(out, element(n, i).Errorf("%s", text))
		}
	}
	return out
}

// finish checks the section and parses its maps; it does so when the section
// is off, too.
func (d *DNS) finish(n conf.Node, known sets) conf.Problems {
	var out conf.Problems
	out = append(out, d.servers(n)...)
	var p conf.Problems
	d.Policy, p = policy(d.PolicyNode, known)
	out = append(out, p...)
	d.ProxyServerPolicy, p = policy(d.ProxyServerPolicyNode, known)
	out = append(out, p...)
	out = append(out, d.fakeIP(n, known)...)

	filter := n.Get("fallback-filter")
	out = append(out, checkPrefixes(filter.Get("ipcidr"), d.FallbackFilter.IPCIDR)...)
	out = append(out, checkDomains(filter.Get("domain"), d.FallbackFilter.Domain)...)
	if len(d.FallbackFilter.GeoSite) > 0 {
		out = append(out, filter.Get("geosite").Warnf("deprecated; use nameserver-policy with geosite: keys"))
	}
	return out
}

// servers checks the lists of name servers.
func (d *DNS) servers(n conf.Node) conf.Problems {
	var out conf.Problems
	for _, list := range []*[]Nameserver{&d.DefaultNameserver, &d.Nameserver, &d.Fallback, &d.ProxyServerNameserver, &d.DirectNameserver} {
		*list = distinct(*list)
	}
	if d.Enable && len(d.Nameserver) == 0 {
		out = append(out, n.Get("nameserver").Errorf("wants at least one name server"))
	}
	if len(d.DefaultNameserver) == 0 {
		out = append(out, n.Get("default-nameserver").Errorf("wants at least one name server"))
	}
	for _, s := range d.DefaultNameserver {
		if !s.byAddress() {
			out = append(out, itemWith(n.Get("default-nameserver"), s.Raw).Errorf("must be a server by IP address, or system"))
		}
	}
	if d.RespectRules && len(d.ProxyServerNameserver) == 0 {
		out = append(out, n.Get("respect-rules").Errorf("wants proxy-server-nameserver: else the hosts of proxies are resolved through themselves"))
	}
	return out
}

// itemWith is the element of the list n that is written so.
func itemWith(n conf.Node, text string) conf.Node {
	for _, item := range n.Items() {
		if got, _ := item.Text(); got == text {
			return item
		}
	}
	return n
}

// fakeIP checks what matters in fake-ip mode only.
func (d *DNS) fakeIP(n conf.Node, known sets) conf.Problems {
	if d.EnhancedMode != "fake-ip" {
		return nil
	}
	out := checkPool(n.Get("fake-ip-range"), d.FakeIPRange, true)
	if d.FakeIPRange6 != "" {
		out = append(out, checkPool(n.Get("fake-ip-range6"), d.FakeIPRange6, false)...)
	}
	list := n.Get("fake-ip-filter")
	if d.FakeIPFilterMode == "rule" {
		return append(out, checkFilterRules(list, d.FakeIPFilter)...)
	}
	out = append(out, checkDomains(list, d.FakeIPFilter)...)
	return append(out, known.missingIn(list, d.FakeIPFilter)...)
}

// reservedBits is how many host bits a pool needs: the first four addresses
// and the last are not handed out.
const reservedBits = 3

func checkPool(n conf.Node, text string, v4 bool) conf.Problems {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return conf.Problems{n.Errorf("want an IP address with a prefix length such as 198.18.0.1/16, got %q", text)}
	case p.Addr().Is4() != v4:
		return conf.Problems{n.Errorf("%s is of the wrong IP version", text)}
	case p.Addr().BitLen()-p.Bits() < reservedBits:
		return conf.Problems{n.Errorf("%s has no room: want at least %d host bits", text, reservedBits)}
	}
	return nil
}

// checkFilterRules checks TYPE,payload,fake-ip|real-ip lines.
func checkFilterRules(n conf.Node, list []string) conf.Problems {
	var out conf.Problems
	for i, text := range list {
		r, problems := parseRule(element(n, i), text)
		out = append(out, problems...)
		if len(problems.Errors()) == 0 && r.Target != "fake-ip" && r.Target != "real-ip" {
			out = append(out, r.Errorf("target must be fake-ip or real-ip, got %q", r.Target))
		}
	}
	return out
}

// policy reads a map of patterns to name servers in file order.
func policy(n conf.Node, known sets) ([]PolicyEntry, conf.Problems) {
	switch n.Kind() {
	case conf.Absent, conf.Null, conf.Map:
	default:
		return nil, conf.Problems{n.Errorf("want a map, got %s", n.Kind())}
	}
	var out []PolicyEntry
	var problems conf.Problems
	for _, e := range n.Entries() {
		p := PolicyEntry{Keys: policyKeys(e.Key), Node: e.Value}
		for _, key := range p.Keys {
			for _, text := range known.missing(key) {
				problems = append(problems, e.KeyNode.Errorf("%s", text))
			}
			if _, _, ok := setOf(key); ok {
				continue
			}
			if err := CheckPattern(key); err != nil {
				problems = append(problems, e.KeyNode.Errorf("%v", err))
			}
		}
		var more conf.Problems
		p.Servers, more = policyServers(e.Value)
		problems = append(problems, more...)
		out = append(out, p)
	}
	return out, problems
}

// policyKeys splits a key at its commas; each part of a set keeps the prefix.
func policyKeys(key string) []string {
	prefix, rest, ok := setOf(key)
	if !ok {
		return strings.Split(key, ",")
	}
	names := strings.Split(rest, ",")
	for i := range names {
		names[i] = prefix + names[i]
	}
	return names
}

func policyServers(n conf.Node) ([]Nameserver, conf.Problems) {
	if n.Kind() == conf.Scalar && n.IsString() {
		var one Nameserver
		p := n.Decode(&one, conf.Strict)
		return []Nameserver{one}, p
	}
	if n.Kind() != conf.List {
		return nil, conf.Problems{n.Errorf("want a name server or a list of them")}
	}
	var list []Nameserver
	p := n.Decode(&list, conf.Strict)
	return distinct(list), p
}

package configs

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// finish checks what decoding alone cannot and fills the parsed fields.
func (d *Document) finish() conf.Problems {
	root := d.Tree.Root()
	var out conf.Problems
	d.Rules = slices.DeleteFunc(d.Rules, func(n conf.Node) bool { return n.Kind() == conf.Null })
	var known sets
	for _, e := range d.RuleProviders.Entries() {
		known.names = append(known.names, e.Key)
	}
	var p conf.Problems
	d.Hosts, p = parseHosts(d.HostsNode)
	out = append(out, p...)
	d.Tunnels, p = parseTunnels(d.TunnelNodes)
	out = append(out, p...)
	out = append(out, d.DNS.finish(root.Get("dns"), known)...)
	out = append(out, d.Tun.finish(root.Get("tun"))...)
	out = append(out, d.Sniffer.finish(root.Get("sniffer"), known)...)
	out = append(out, d.shapes()...)
	return append(out, d.doubts(root)...)
}

// shapes checks the sections that are kept as nodes.
func (d *Document) shapes() conf.Problems {
	var out conf.Problems
	for _, n := range []conf.Node{d.SubRules, d.ProxyProviders, d.RuleProviders} {
		if k := n.Kind(); k != conf.Absent && k != conf.Null && k != conf.Map {
			out = append(out, n.Errorf("want a map, got %s", k))
		}
	}
	return out
}

// doubts warns of what loads and cannot work.
func (d *Document) doubts(root conf.Node) conf.Problems {
	var out conf.Problems
	for key, port := range map[string]int{
		"port": d.Port, "socks-port": d.SocksPort, "mixed-port": d.MixedPort, "redir-port": d.RedirPort, "tproxy-port": d.TProxyPort,
	} {
		if port < 0 || port > 65535 {
			out = append(out, root.Get(key).Warnf("%d is no port: nothing is opened", port))
		}
	}
	list := root.Get("authentication")
	for i, entry := range d.Authentication {
		if !strings.Contains(entry, ":") {
			out = append(out, element(list, i).Warnf("entry without a colon is ignored: want user:password"))
		}
	}
	if d.ExternalUI != "" && !d.Inside(d.ExternalUI) {
		out = append(out, root.Get("external-ui").Warnf("outside the home directory and SAFE_PATHS: it is not served"))
	}
	for key, addr := range map[string]string{
		"external-controller": d.ExternalController, "external-controller-tls": d.ExternalControllerTLS,
	} {
		if d.Secret == "" && beyondLoopback(addr) {
			out = append(out, root.Get(key).Warnf("listens beyond this machine and there is no secret: anybody who reaches it controls the kernel"))
		}
	}
	if d.ClientFingerprint != "" {
		out = append(out, root.Get("global-client-fingerprint").Warnf("deprecated; set client-fingerprint on the proxies"))
	}
	return out
}

// finish checks the section and joins its older spellings.
func (t *Tun) finish(n conf.Node) conf.Problems {
	t.RouteAddress = slices.Concat(t.RouteAddress, t.Inet4RouteAddress, t.Inet6RouteAddress)
	t.RouteExcludeAddress = slices.Concat(t.RouteExcludeAddress, t.Inet4RouteExcludeAddress, t.Inet6RouteExcludeAddress)
	at := n.Get("inet6-address")
	switch at.Kind() {
	case conf.Absent:
		return nil
	case conf.Scalar:
		var one netip.Prefix
		p := at.Decode(&one, conf.Strict)
		t.Inet6Address = []netip.Prefix{one}
		return p
	}
	t.Inet6Address = nil
	return at.Decode(&t.Inet6Address, conf.Strict)
}

// sniffPorts is the protocols and the ports that are looked at when the file
// names none.
var sniffPorts = map[string]uint16{"HTTP": 80, "TLS": 443, "QUIC": 443}

// sniffConfig is the value of a protocol below sniff.
type sniffConfig struct {
	Ports    []string `yaml:"ports"`
	Override *bool    `yaml:"override-destination"`
}

// finish checks the section and reads which protocols are looked for.
func (s *Sniffer) finish(n conf.Node, known sets) conf.Problems {
	var out conf.Problems
	for key, list := range map[string][]string{"force-domain": s.ForceDomain, "skip-domain": s.SkipDomain} {
		out = append(out, checkDomains(n.Get(key), list)...)
		out = append(out, known.missingIn(n.Get(key), list)...)
	}
	for key, list := range map[string][]string{"skip-src-address": s.SkipSrcAddress, "skip-dst-address": s.SkipDstAddress} {
		out = append(out, checkPrefixes(n.Get(key), list)...)
		out = append(out, known.missingIn(n.Get(key), list)...)
	}
	switch s.SniffNode.Kind() {
	case conf.Absent, conf.Null:
		return append(out, s.older(n)...)
	case conf.Map:
	default:
		return append(out, s.SniffNode.Errorf("want a map, got %s", s.SniffNode.Kind()))
	}
	for _, e := range s.SniffNode.Entries() {
		out = append(out, s.protocol(e)...)
	}
	return out
}

// protocol reads one entry of sniff.
func (s *Sniffer) protocol(e conf.Entry) conf.Problems {
	name, ok := protocolName(e.Key)
	if !ok {
		return conf.Problems{unknownProtocol(e.KeyNode, e.Key)}
	}
	r := SniffRule{Protocol: name, OverrideDestination: s.OverrideDestination}
	var c sniffConfig
	out := e.Value.Decode(&c, conf.Strict)
	if c.Override != nil {
		r.OverrideDestination = *c.Override
	}
	var p conf.Problems
	r.Ports, p = sniffRanges(e.Value.Get("ports"), c.Ports)
	if len(r.Ports) == 0 {
		r.Ports = []PortRange{{sniffPorts[name], sniffPorts[name]}}
	}
	s.Sniff = append(s.Sniff, r)
	return append(out, p...)
}

func protocolName(text string) (string, bool) {
	name := strings.ToUpper(text)
	_, ok := sniffPorts[name]
	return name, ok
}

func unknownProtocol(n conf.Node, text string) conf.Problem {
	return n.Errorf("unknown protocol %q: must be HTTP, TLS or QUIC", text)
}

// older reads sniffing and port-whitelist: one list of ports for all.
func (s *Sniffer) older(n conf.Node) conf.Problems {
	ports, out := sniffRanges(n.Get("port-whitelist"), s.PortWhitelist)
	list := n.Get("sniffing")
	for i, text := range s.Sniffing {
		name, ok := protocolName(text)
		if !ok {
			out = append(out, unknownProtocol(element(list, i), text))
			continue
		}
		s.Sniff = append(s.Sniff, SniffRule{Protocol: name, Ports: ports, OverrideDestination: s.OverrideDestination})
	}
	if len(s.Sniffing) > 0 {
		out = append(out, list.Warnf("deprecated; use sniff"))
	}
	return out
}

// sniffRanges reads a list whose elements are a port or first-last.
func sniffRanges(n conf.Node, list []string) ([]PortRange, conf.Problems) {
	var ranges []PortRange
	var out conf.Problems
	for i, text := range list {
		r, err := portRange(strings.TrimSpace(text))
		if err != nil {
			out = append(out, element(n, i).Errorf("%v", err))
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges, out
}

// beyondLoopback says whether a controller at addr can be reached from another
// machine.
func beyondLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !ip.Unmap().IsLoopback())
}

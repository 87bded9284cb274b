package route

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/rule/domain"
	"github.com/culvert-proxy/culvert/plugins/rule/dscp"
	"github.com/culvert-proxy/culvert/plugins/rule/inbound"
	"github.com/culvert-proxy/culvert/plugins/rule/ip"
	"github.com/culvert-proxy/culvert/plugins/rule/match"
	"github.com/culvert-proxy/culvert/plugins/rule/network"
	"github.com/culvert-proxy/culvert/plugins/rule/port"
)

// builtRules is the catalog of the rule plugins, and of LOOK, a rule that asks
// for a fact that is found out on first use.
type builtRules map[string]framework.Descriptor

func (c builtRules) Lookup(_ framework.Kind, typ string) (framework.Descriptor, bool) {
	d, ok := c[typ]
	return d, ok
}

func newBuiltRules() builtRules {
	c := builtRules{"LOOK": framework.NewRule("LOOK", "Look", newLook)}
	for _, family := range [][]framework.Descriptor{domain.Descriptors(), dscp.Descriptors(), inbound.Descriptors(),
		ip.Descriptors(), match.Descriptors(), network.Descriptors(), port.Descriptors()} {
		for _, d := range family {
			c[d.Type] = d
		}
	}
	return c
}

type look byte

func newLook(a framework.RuleArgs) (framework.Rule, error) { return look(a.Payload[0] - '0'), nil }

func (l look) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	return facts.(*client).look(byte(l)), nil
}

// client is a flow's side of a walk that writes down what it was asked.
type client struct {
	flow     framework.Flow
	resolves netip.Addr // what the name resolves to, zero for a failure
	facts    byte       // a bit for each fact that LOOK may ask for

	ip       netip.Addr
	asked    int
	looked   byte
	accepted []byte
}

func (c *client) begin() {
	c.ip, c.asked, c.looked, c.accepted = c.flow.Destination.IP, 0, 0, c.accepted[:0]
}

func (c *client) look(bit byte) bool {
	c.looked |= 1 << bit
	return c.facts>>bit&1 == 1
}

func (c *client) Host() string           { return c.flow.Destination.Host }
func (c *client) IP() (netip.Addr, bool) { return c.ip, c.ip.IsValid() }

func (c *client) Resolve() {
	c.asked++
	if !c.ip.IsValid() && c.Host() != "" {
		c.ip = c.resolves
	}
}

func (c *client) Accept(target string) Verdict {
	c.accepted = append(c.accepted, target[len(target)-1])
	switch target {
	case "PASS":
		return Leave
	case "PASS-RULE":
		return Next
	case "STREAMS":
		if c.flow.Network == framework.UDP {
			return Next
		}
	}
	return Take
}

// dice decides what is generated: a seeded source, or the bytes of a fuzzer.
type dice func(sides int) int

func pick[T any](d dice, from ...T) T { return from[d(len(from))] }

func (d dice) often(percent int) bool { return d(100) < percent }

// name is a host or what a rule says of one; few enough that they often meet.
func (d dice) name() string {
	if d.often(4) {
		return pick(d, "a.", ".a", "a..com", ".", "x_y.b")
	}
	labels := make([]string, 1+d(4))
	for i := range labels {
		labels[i] = pick(d, "a", "b", "ab", "com")
	}
	return strings.Join(labels, ".")
}

func (d dice) address() netip.Addr {
	if d.often(70) {
		return netip.AddrFrom4([4]byte{pick[byte](d, 10, 11, 192, 255), pick[byte](d, 0, 255), byte(d(3)), byte(d(4))})
	}
	var b [16]byte
	b[0], b[1], b[9], b[15] = pick[byte](d, 0x20, 0xfd, 0, 0xff), byte(d(2)), byte(d(3)), byte(d(4))
	return netip.AddrFrom16(b)
}

func (d dice) prefix() string {
	a := d.address()
	if d.often(3) {
		return "::ffff:10.0.0.0/" + pick(d, "100", "104", "90")
	}
	return netip.PrefixFrom(a, d(a.BitLen()+1)).String()
}

func (d dice) port() uint16 { return pick[uint16](d, 0, 1, 2, 3, 5, 8, 443, 65535) }

func (d dice) ports() string {
	pieces := make([]string, 1+d(3))
	for i := range pieces {
		low, high := d.port(), d.port()
		pieces[i] = fmt.Sprintf("%d-%d", min(low, high), max(low, high))
	}
	return strings.Join(pieces, "/")
}

// plain is a condition of one of the built types: its type, payload and
// parameters.
func (d dice) plain() (typ, payload, params string) {
	typ = pick(d, "DOMAIN", "DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-REGEX", "DOMAIN-WILDCARD",
		"IP-CIDR", "IP-CIDR", "IP-CIDR6", "SRC-IP-CIDR", "IP-SUFFIX", "SRC-IP-SUFFIX",
		"DST-PORT", "SRC-PORT", "IN-PORT", "NETWORK", "DSCP", "IN-TYPE", "IN-NAME", "IN-USER", "LOOK")
	switch typ {
	case "DOMAIN", "DOMAIN-SUFFIX":
		payload = d.name()
		if payload == "." {
			payload = "a"
		}
	case "DOMAIN-KEYWORD", "DOMAIN-REGEX":
		payload = pick(d, "a", "b.a", "om")
	case "DOMAIN-WILDCARD":
		payload = pick(d, "*.com", "a?", "*")
	case "IP-CIDR", "IP-CIDR6", "IP-SUFFIX":
		payload, params = d.prefix(), pick(d, "", "", ",no-resolve", ",src")
	case "SRC-IP-CIDR", "SRC-IP-SUFFIX":
		payload = d.prefix()
	case "DST-PORT", "SRC-PORT", "IN-PORT":
		payload = d.ports()
	case "NETWORK":
		payload = pick(d, "tcp", "udp")
	case "DSCP":
		payload = pick(d, "0", "0-3", "46/2")
	case "IN-TYPE":
		payload = pick(d, "SOCKS", "HTTP/TUN")
	case "IN-NAME", "IN-USER":
		payload = pick(d, "x", "y/x", "z")
	case "LOOK":
		payload = pick(d, "0", "1", "2")
	}
	return typ, payload, params
}

// condition is one in parentheses.
func (d dice) condition(depth int) string {
	if depth > 0 && d.often(35) {
		return "(" + d.logic(depth) + ")"
	}
	typ, payload, params := d.plain()
	return "(" + typ + "," + payload + params + ")"
}

func (d dice) logic(depth int) string {
	typ, n := pick(d, "AND", "AND", "OR", "NOT"), 1
	if typ != "NOT" {
		n += d(3)
	}
	children := make([]string, n)
	for i := range children {
		children[i] = d.condition(depth - 1)
	}
	return typ + ",(" + strings.Join(children, ",") + ")"
}

// line is a rule of a list that may use the sub-rules subs.
func (d dice) line(subs []string) Line {
	l := Line{Target: pick(d, "A", "A", "B", "C", "STREAMS", "PASS", "PASS-RULE")}
	switch kind := d(100); {
	case kind < 12 && len(subs) > 0:
		l.Type, l.Payload, l.Target = "SUB-RULE", d.condition(2), pick(d, subs...)
	case kind < 30:
		l.Type, l.Payload, _ = strings.Cut(d.logic(3), ",")
	case kind < 33:
		l.Type, l.Never = "GEOIP", true
	case kind < 36:
		l.Type = "MATCH"
	default:
		var params string
		l.Type, l.Payload, params = d.plain()
		if params != "" {
			l.Params = []string{params[1:]}
		}
	}
	return l
}

// lines are a main list and sub-rules, whose names each refer only to later
// ones.
func (d dice) lines() (main []Line, subs map[string][]Line) {
	names := []string{"s", "t", "u"}
	subs = map[string][]Line{}
	for i, name := range names {
		for range d(6) {
			subs[name] = append(subs[name], d.line(names[i+1:]))
		}
		if subs[name] == nil {
			subs[name] = []Line{}
		}
	}
	for range pick(d, 1, 5, 12, 40) {
		main = append(main, d.line(names))
	}
	return main, subs
}

// arrive makes c the next flow.
func (d dice) arrive(c *client) {
	f := &c.flow
	*f = framework.Flow{Network: pick(d, framework.TCP, framework.TCP, framework.UDP), DSCP: pick[uint8](d, 0, 2, 46)}
	f.Source = netip.AddrPortFrom(d.address(), d.port())
	f.Destination.Port = d.port()
	f.Inbound = framework.Origin{Name: pick(d, "x", "y", ""), Type: pick(d, "Socks5", "HTTP", "Tun"), User: pick(d, "", "x", "z"),
		Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), d.port())}
	c.resolves, c.facts = netip.Addr{}, byte(d(8))
	if d.often(30) {
		f.Destination.IP = d.address()
		return
	}
	f.Destination.Host = d.name()
	if d.often(80) {
		c.resolves = d.address()
	}
}

package kernel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/geo"
	"github.com/culvert-proxy/culvert/framework/route"
)

// planRules compiles the rules. Rules have no state and no network, so that
// compiling them is checking them.
func (k *Kernel) planRules(p *plan) {
	nodes := map[string][]conf.Node{"": p.doc.Rules}
	lines := map[string][]route.Line{}
	h := sha256.New()
	fmt.Fprint(h, p.doc.GeodataMode) // what the rules on countries were made of
	for _, e := range p.doc.SubRules.Entries() {
		if e.Key == "" {
			p.add(e.KeyNode.Errorf("a sub-rule needs a name"))
			continue
		}
		nodes[e.Key] = e.Value.Items()
	}
	targets := p.targets()
	for _, list := range sortedKeys(nodes) {
		h.Write([]byte("\x00" + list))
		for _, n := range nodes[list] {
			hash := n.Hash()
			h.Write(hash[:])
			line, problems := configs.ParseRule(n)
			if epoch := k.epoch(framework.KindRule, line.Type); epoch != 0 {
				fmt.Fprint(h, epoch) // a rule of a plugin that was loaded again is another one
			}
			p.add(problems...)
			lines[list] = append(lines[list], k.planRule(p, line, targets, len(problems.Errors()) == 0))
		}
	}
	h.Sum(p.rulesHash[:0])

	main := lines[""]
	delete(lines, "")
	for name := range nodes {
		if _, ok := lines[name]; !ok && name != "" {
			lines[name] = nil
		}
	}
	table, errs := route.Compile(main, lines, ruleCatalog{k, k.geo.View(p.doc.GeodataMode), map[string]ruleHost{}})
	if k.leaveOut(p, errs, nodes, main, lines) {
		table, errs = route.Compile(main, lines, ruleCatalog{k, k.geo.View(p.doc.GeodataMode), map[string]ruleHost{}})
	}
	p.rules = table
	for _, e := range errs {
		p.add(nodes[e.List][e.Index].Errorf("%s: %v", ruleText(nodes[e.List][e.Index]), e.Err))
	}
	if table == nil {
		return
	}
	eachRule(table, sortedKeys(lines), func(list string, r *route.Rule) {
		for _, w := range r.Warnings() {
			p.add(nodes[list][r.Index].Warnf("%s: %s", ruleText(nodes[list][r.Index]), w))
		}
	})
}

// leaveOut makes the lines whose data is not there never hold: there is no
// download yet, and a file that works elsewhere should start. It says whether
// there were any.
func (k *Kernel) leaveOut(p *plan, errs []*route.LineError, nodes map[string][]conf.Node, main []route.Line, subs map[string][]route.Line) bool {
	any := false
	for _, e := range errs {
		if !errors.Is(e.Err, geo.ErrMissing) {
			continue
		}
		any = true
		list := main
		if e.List != "" {
			list = subs[e.List]
		}
		line := &list[e.Index]
		line.Never, line.Label = true, k.label(line.Type)
		n := nodes[e.List][e.Index]
		p.add(n.Warnf("%s: %v: this rule never holds until the file is there and the configuration is loaded again", ruleText(n), e.Err))
		p.rulesHash = sha256.Sum256(append(p.rulesHash[:], fmt.Sprint(e.List, e.Index)...)) // another table than the one with the data
	}
	return any
}

// label is how the REST API spells a rule type.
func (k *Kernel) label(typ string) string {
	if d, ok := k.Catalog.Lookup(framework.KindRule, typ); ok {
		return d.Label
	}
	return logicLabels[typ]
}

// logicLabels are those of the types that are the router's own.
var logicLabels = map[string]string{"AND": "AND", "OR": "OR", "NOT": "NOT", "SUB-RULE": "SubRules"}

// planRule checks one line's target. A line that is wrong or not built becomes
// one that never holds, so that the others keep their index.
func (k *Kernel) planRule(p *plan, r configs.RuleLine, targets []string, ok bool) route.Line {
	line := route.Line{Type: r.Type, Payload: r.Payload, Target: r.Target, Params: r.Params}
	if !ok {
		line.Never = true
		return line
	}
	if r.Type != "SUB-RULE" && !slices.Contains(targets, r.Target) {
		p.add(unknownTarget(r, targets))
	}
	if typ, label := k.notBuiltIn(r.Type, r.Payload); typ != "" {
		p.add(r.Node.Warnf("%s: rules of type %s are not built yet: this one never holds", ruleText(r.Node), typ))
		line.Never, line.Label = true, label
	}
	return line
}

func unknownTarget(r configs.RuleLine, targets []string) conf.Problem {
	msg := `%s: target %q is not defined`
	if near := conf.Nearest(r.Target, targets); near != "" {
		return r.Node.Errorf(msg+"; did you mean %q?", ruleText(r.Node), r.Target, near)
	}
	return r.Node.Errorf(msg, ruleText(r.Node), r.Target)
}

// notBuiltIn finds a type that is not built in a rule or in the conditions of
// a logic rule. label is the outer rule's.
func (k *Kernel) notBuiltIn(typ, payload string) (missing, label string) {
	if label, known := notBuiltRules[typ]; known {
		if _, ok := k.Catalog.Lookup(framework.KindRule, typ); !ok {
			return typ, label
		}
	}
	label, logic := logicLabels[typ]
	if !logic {
		return "", ""
	}
	for _, inner := range strings.FieldsFunc(payload, func(r rune) bool { return r == '(' || r == ')' }) {
		word, _, _ := strings.Cut(inner, ",")
		if _, known := notBuiltRules[word]; !known {
			continue
		}
		if _, ok := k.Catalog.Lookup(framework.KindRule, word); !ok {
			return word, label
		}
	}
	return "", ""
}

func ruleText(n conf.Node) string {
	text, _ := n.Text()
	return text
}

// planListeners checks `listeners:`.
func (k *Kernel) planListeners(p *plan) {
	targets := p.targets()
	for _, n := range p.doc.Listeners {
		common, problems := configs.DecodeListener(n)
		p.add(problems...)
		if len(problems.Errors()) > 0 {
			continue
		}
		s := inboundSpec{key: key{framework.KindInbound, common.Name, common.Type, n.Hash()}, proxy: common.Proxy, rule: common.Rule}
		if !k.describeInbound(p, n, &s) {
			continue
		}
		if s.proxy != "" && !slices.Contains(targets, s.proxy) {
			p.add(n.GetLoose("proxy").Warnf("proxy or group %q is not defined: every flow of this listener fails", s.proxy))
		}
		if s.rule != "" && !p.doc.SubRules.Get(s.rule).Exists() {
			p.add(n.GetLoose("rule").Warnf("sub-rule %q is not defined: the main rules are used", s.rule))
		}
		at := slices.IndexFunc(p.inbounds, func(o inboundSpec) bool { return o.name == s.name })
		if at >= 0 {
			p.add(n.Warnf("a listener named %q is there already: the last one counts", s.name))
			p.inbounds = slices.Delete(p.inbounds, at, at+1)
		}
		p.inbounds = append(p.inbounds, s)
	}
}

// checkTunnels checks the names in `tunnels:`.
func (p *plan) checkTunnels() {
	targets := p.targets()
	for _, t := range p.doc.Tunnels {
		if t.Proxy != "" && !slices.Contains(targets, t.Proxy) {
			p.add(unknownName(t.Node, t.Proxy, targets))
		}
	}
}

func (k *Kernel) describeInbound(p *plan, n conf.Node, s *inboundSpec) bool {
	d, ok := k.Catalog.Lookup(framework.KindInbound, s.typ)
	if !ok {
		required, known := notBuiltInbounds[s.typ]
		if !known {
			names := map[string]string{}
			for name := range notBuiltInbounds {
				names[name] = ""
			}
			p.add(unknownType(n, "listener", s.typ, k.types(framework.KindInbound, names)))
			return false
		}
		for _, key := range required {
			if !n.GetLoose(key).Exists() {
				p.add(n.Errorf("%s is missing", key))
			}
		}
		p.add(n.Get("type").Warnf("listeners of type %q are not built yet: this one is not opened", s.typ))
		return false
	}
	s.desc = d
	return p.checkOwn(d, n.Source(conf.Loose, "name", "type", "rule", "proxy", "routing-mark"), &s.source)
}

// planPorts makes the inbounds of the top-level ports.
func (k *Kernel) planPorts(g *General) []inboundSpec {
	var specs []inboundSpec
	for _, q := range []struct {
		name, typ string
		port      int
	}{{"DEFAULT-HTTP", "http", g.Port}, {"DEFAULT-SOCKS", "socks", g.SocksPort}, {"DEFAULT-MIXED", "mixed", g.MixedPort}} {
		if q.port == 0 {
			continue
		}
		d, ok := k.Catalog.Lookup(framework.KindInbound, q.typ)
		if !ok {
			continue
		}
		src := portSource{listen: g.ListenHost(), port: q.port}
		hash := sha256.Sum256([]byte(src.String()))
		specs = append(specs, inboundSpec{key: key{framework.KindInbound, q.name, q.typ, hash}, desc: d, source: src})
	}
	return specs
}

// ListenHost is the address of the top-level ports; :: is all addresses of
// both families.
func (g *General) ListenHost() string {
	if !g.AllowLAN {
		return "127.0.0.1"
	}
	switch host := strings.TrimSuffix(strings.TrimPrefix(g.BindAddress, "["), "]"); host {
	case "", "*":
		return "::"
	case "localhost":
		return "127.0.0.1"
	default:
		return host
	}
}

var errListenHost = errors.New("bind-address is no IP address")

// portSource is the configuration of a top-level port.
type portSource struct {
	listen string
	port   int
}

func (s portSource) String() string { return s.listen + " " + strconv.Itoa(s.port) }

// Decode gives listen and port to an inbound the way a listener entry would.
func (s portSource) Decode(into any) error {
	if _, err := netip.ParseAddr(s.listen); err != nil {
		return errListenHost
	}
	tree, err := conf.Parse("top level", []byte(`{"listen": "`+s.listen+`", "port": "`+strconv.Itoa(s.port)+`"}`))
	if err != nil {
		return err
	}
	return tree.Root().Source(conf.Loose).Decode(into)
}

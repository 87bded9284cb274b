package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/health"
	"github.com/culvert-proxy/culvert/framework/route"
)

// plan is a checked document: all that is to be there, nothing built.
type plan struct {
	doc       *configs.Document
	outbounds []nodeSpec
	groups    []nodeSpec
	inbounds  []inboundSpec // of `listeners:`
	names     []string      // members of GLOBAL, in order
	index     index         // of outbounds and groups
	broken    []string      // names of outbounds and groups with a mistake of their own

	rules     *route.Table
	rulesHash [32]byte
	hosts     *hostTable

	problems conf.Problems
}

// key tells whether a configured thing is the same as before a reload.
type key struct {
	kind framework.Kind
	name string
	typ  string
	hash [32]byte
}

// nodeSpec is an outbound or group to be.
type nodeSpec struct {
	key
	desc    framework.Descriptor
	node    conf.Node // zero for a built-in
	source  framework.Source
	proxy   configs.ProxyCommon // of an outbound
	group   configs.GroupCommon // of a group
	members []string            // of a group
	tests   health.Plan         // of a group; without Members
}

// inboundSpec is an inbound to be.
type inboundSpec struct {
	key
	desc        framework.Descriptor
	source      framework.Source
	proxy, rule string
}

// builtins are the outbounds that every configuration has, by name and type.
var builtins = [][2]string{
	{dispatch.Direct, "direct"}, {"REJECT", "reject"}, {"REJECT-DROP", "reject-drop"},
	{"COMPATIBLE", "compatible"}, {"PASS", "pass"}, {"PASS-RULE", "pass-rule"},
}

// check makes a plan of doc. Its problems include the document's warnings.
func (k *Kernel) check(doc *configs.Document) *plan {
	p := &plan{doc: doc, problems: slices.Clone(doc.Warnings)}
	k.planPlugins(p)
	k.planOutbounds(p)
	k.planGroups(p)
	p.checkReferences()
	k.planRules(p)
	k.planListeners(p)
	p.checkTunnels()
	p.hosts = newHostTable(doc.Hosts)
	p.problems.Sort()
	p.problems = slices.Compact(p.problems) // a key that two read is doubtful once
	return p
}

func (p *plan) add(ps ...conf.Problem) { p.problems = append(p.problems, ps...) }

// spec finds a planned outbound or group by name.
func (p *plan) spec(name string) *nodeSpec {
	i, ok := p.index.of(p)[name]
	switch {
	case !ok:
		return nil
	case i < 0:
		return &p.groups[^i]
	}
	return &p.outbounds[i]
}

// index finds outbounds and groups by name. It takes in what was planned since
// it was asked last.
type index struct {
	at                map[string]int // of a group: the complement
	outbounds, groups int            // that are in it
}

func (x *index) of(p *plan) map[string]int {
	if x.at == nil {
		x.at = map[string]int{}
	}
	for ; x.outbounds < len(p.outbounds); x.outbounds++ {
		x.at[p.outbounds[x.outbounds].name] = x.outbounds
	}
	for ; x.groups < len(p.groups); x.groups++ {
		x.at[p.groups[x.groups].name] = ^x.groups
	}
	return x.at
}

func (k *Kernel) planOutbounds(p *plan) {
	for _, b := range builtins {
		if d, ok := k.Catalog.Lookup(framework.KindOutbound, b[1]); ok {
			p.outbounds = append(p.outbounds, nodeSpec{key: key{framework.KindOutbound, b[0], b[1], [32]byte{}},
				desc: d, source: anything{}, proxy: configs.ProxyCommon{Name: b[0], Type: b[1]}})
		}
	}
	p.names = []string{dispatch.Direct, "REJECT"}
	for _, n := range p.doc.Proxies {
		common, problems := configs.DecodeProxy(n)
		p.add(problems...)
		if len(problems.Errors()) > 0 {
			p.broken = append(p.broken, common.Name)
			continue
		}
		s := nodeSpec{key: key{framework.KindOutbound, common.Name, common.Type, n.Hash()}, node: n, proxy: common}
		k.ofEpoch(&s.key)
		if !k.describeOutbound(p, &s) || !p.unique(&s) {
			p.broken = append(p.broken, s.name)
			continue
		}
		p.outbounds = append(p.outbounds, s)
		p.names = append(p.names, s.name)
	}
}

// describeOutbound finds the type of an outbound and checks its own keys.
func (k *Kernel) describeOutbound(p *plan, s *nodeSpec) bool {
	if label, known := notBuiltOutbounds[s.typ]; known {
		if _, ok := k.Catalog.Lookup(framework.KindOutbound, s.typ); !ok {
			p.add(s.node.Get("type").Warnf("proxies of type %q are not built yet: this one is never alive", s.typ))
			s.desc, s.source = notBuilt(s.typ, label), anything{}
			return true
		}
	}
	d, ok := k.Catalog.Lookup(framework.KindOutbound, s.typ)
	if !ok {
		p.add(unknownType(s.node, "proxy", s.typ, k.types(framework.KindOutbound, notBuiltOutbounds)))
		return false
	}
	s.desc = d
	return p.checkOwn(d, s.node.Source(conf.Loose, configs.ProxyKeys()...), &s.source)
}

// checkOwn runs a type's own check and keeps the source.
func (p *plan) checkOwn(d framework.Descriptor, src *conf.Source, keep *framework.Source) bool {
	*keep = src
	err := d.Check(src)
	p.add(src.Warnings()...)
	var problems conf.Problems
	if errors.As(err, &problems) {
		p.add(problems...)
	} else if err != nil {
		p.add(conf.Problem{Msg: err.Error()})
	}
	return err == nil
}

func (k *Kernel) types(kind framework.Kind, more map[string]string) []string {
	var names []string
	if l, ok := k.Catalog.(interface {
		Types(framework.Kind) []string
	}); ok {
		names = l.Types(kind)
	}
	for name := range more {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func unknownType(n conf.Node, what, typ string, known []string) conf.Problem {
	at := n.Get("type")
	if !at.Exists() {
		at = n
	}
	if near := conf.Nearest(typ, known); near != "" {
		return at.Errorf("unknown %s type %q; did you mean %q?", what, typ, near)
	}
	return at.Errorf("unknown %s type %q", what, typ)
}

// unique refuses a second outbound or group of one name.
func (p *plan) unique(s *nodeSpec) bool {
	have := p.spec(s.name)
	if have == nil {
		return true
	}
	where := "it is built in"
	if have.node.Exists() {
		where = "the first is at " + have.node.Place().String()
	}
	p.add(s.node.Get("name").Errorf("a proxy or group named %q is there already; %s", s.name, where))
	return false
}

// checkReferences checks what names name: members and dialer-proxy.
func (p *plan) checkReferences() {
	known := p.targets()
	for i := range p.groups {
		p.checkGroup(&p.groups[i], known)
	}
	for i := range p.outbounds {
		s := &p.outbounds[i]
		if name := s.proxy.DialerProxy; name != "" && !slices.Contains(known, name) {
			p.add(s.node.GetLoose("dialer-proxy").Warnf("proxy or group %q is not defined: this proxy cannot be dialled", name))
		}
	}
	p.checkCycles()
}

// targets are all names that a rule may lead to. One with a mistake of its own
// is among them: that it is there is not the mistake.
func (p *plan) targets() []string {
	names := slices.Clone(p.broken)
	for _, list := range [][]nodeSpec{p.outbounds, p.groups} {
		for i := range list {
			names = append(names, list[i].name)
		}
	}
	return names
}

func unknownName(at conf.Node, name string, known []string) conf.Problem {
	if near := conf.Nearest(name, known); near != "" {
		return at.Errorf("proxy or group %q is not defined; did you mean %q?", name, near)
	}
	return at.Errorf("proxy or group %q is not defined", name)
}

// checkCycles refuses groups and dialer-proxies that lead back to themselves.
func (p *plan) checkCycles() {
	state := map[string]int{} // 1 on the path, 2 done
	var path []*nodeSpec
	var visit func(s *nodeSpec)
	visit = func(s *nodeSpec) {
		state[s.name] = 1
		path = append(path, s)
		next := s.members
		if s.kind == framework.KindOutbound {
			next = []string{s.proxy.DialerProxy}
		}
		for _, name := range next {
			to := p.spec(name)
			switch {
			case to == nil || state[name] == 2 || name == dispatch.Global:
			case state[name] == 1:
				p.add(cycle(path, to))
			default:
				visit(to)
			}
		}
		path = path[:len(path)-1]
		state[s.name] = 2
	}
	for _, list := range [][]nodeSpec{p.outbounds, p.groups} {
		for i := range list {
			if s := &list[i]; state[s.name] == 0 && s.name != dispatch.Global {
				visit(s)
			}
		}
	}
}

// cycle describes the part of path that begins at to and leads back to it,
// with the line of each.
func cycle(path []*nodeSpec, to *nodeSpec) conf.Problem {
	at := slices.Index(path, to)
	var steps []string
	for _, s := range path[at:] {
		steps = append(steps, fmt.Sprintf("%s (%s)", s.name, s.node.Place()))
	}
	return to.node.Errorf("leads back to itself: %s → %s", strings.Join(steps, " → "), to.name)
}

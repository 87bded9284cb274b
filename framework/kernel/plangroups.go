package kernel

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/pattern"
)

func (k *Kernel) planGroups(p *plan) {
	for _, n := range p.doc.ProxyGroups {
		common, problems := configs.DecodeGroup(n)
		p.add(problems...)
		if len(problems.Errors()) > 0 {
			p.broken = append(p.broken, common.Name)
			continue
		}
		s := nodeSpec{key: key{framework.KindGroup, common.Name, common.Type, n.Hash()}, node: n, group: common}
		if !hasSource(&common) {
			p.add(n.Errorf("has no members: want proxies, use or include-all"))
		}
		if !k.describeGroup(p, &s) || !p.unique(&s) {
			p.broken = append(p.broken, s.name)
			continue
		}
		planTests(&s, p)
		p.groups = append(p.groups, s)
	}
	for i := range p.groups {
		s := &p.groups[i]
		s.members = p.membersOf(s)
		s.hash = sha256.Sum256([]byte(string(s.hash[:]) + strings.Join(s.members, "\x00"))) // include-all makes it another group when a proxy comes
		if s.name != dispatch.Global {
			p.names = append(p.names, s.name)
		}
	}
	if p.spec(dispatch.Global) == nil {
		d, _ := k.Catalog.Lookup(framework.KindGroup, "select")
		hash := sha256.Sum256([]byte(strings.Join(p.names, "\x00")))
		p.groups = append(p.groups, nodeSpec{key: key{framework.KindGroup, dispatch.Global, "select", hash},
			desc: d, source: anything{}, members: p.names, group: configs.GroupCommon{Name: dispatch.Global, Type: "select", Proxies: p.names}})
	}
}

// describeGroup finds the type of a group and checks its own keys. A type that
// is not built picks as select does.
func (k *Kernel) describeGroup(p *plan, s *nodeSpec) bool {
	d, ok := k.Catalog.Lookup(framework.KindGroup, s.typ)
	if g, known := notBuiltGroups[s.typ]; known && !ok {
		p.add(s.node.Get("type").Warnf("groups of type %q are not built: this one uses its first member until another is picked by hand; %s", s.typ, g.instead))
		if d, ok = k.Catalog.Lookup(framework.KindGroup, "select"); ok {
			d.Label = g.label
			s.desc, s.source = d, anything{}
			return true
		}
	}
	if !ok {
		known := map[string]string{}
		for typ := range notBuiltGroups {
			known[typ] = ""
		}
		p.add(unknownType(s.node, "group", s.typ, k.types(framework.KindGroup, known)))
		return false
	}
	s.desc = d
	return p.checkOwn(d, s.node.Source(conf.LooseCase, configs.GroupKeys()...), &s.source)
}

// hasSource says whether a group says where its members come from.
func hasSource(c *configs.GroupCommon) bool {
	return len(c.Proxies)+len(c.Use) > 0 || c.IncludeAll || c.IncludeAllProxies || c.IncludeAllProviders
}

// membersOf is the names in a group, in order, never empty: those that are
// listed, then all proxies if asked for, less those that are excluded. Whether
// the listed ones exist is checked when all names are known.
func (p *plan) membersOf(s *nodeSpec) []string {
	members := slices.Clone(s.group.Proxies)
	filter := p.patterns(s, "filter", s.group.Filter)
	if s.group.IncludeAll || s.group.IncludeAllProxies {
		members = append(members, p.included(filter)...)
	}
	exclude := p.patterns(s, "exclude-filter", s.group.ExcludeFilter)
	types := strings.Split(s.group.ExcludeType, "|")
	members = slices.DeleteFunc(members, func(name string) bool {
		return pattern.Any(exclude, name) || p.isType(name, types)
	})
	if len(members) == 0 {
		return []string{s.group.EmptyFallback}
	}
	return members
}

// included are the proxies of the file in the order of their bytes; with a
// filter those that match its first pattern come first, and one that matches
// two comes twice.
func (p *plan) included(filter []pattern.Pattern) (names []string) {
	var all []string
	for i := range p.outbounds {
		if p.outbounds[i].node.Exists() {
			all = append(all, p.outbounds[i].name)
		}
	}
	slices.Sort(all)
	if filter == nil {
		return all
	}
	for _, f := range filter {
		for _, name := range all {
			if f.Match(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (p *plan) patterns(s *nodeSpec, key, text string) []pattern.Pattern {
	list, err := pattern.Parse(text)
	if err != nil {
		p.add(s.node.GetLoose(key).Errorf("%v", err))
	}
	return list
}

// isType says whether the API's name for the type of an outbound or group is
// one of types.
func (p *plan) isType(name string, types []string) bool {
	s := p.spec(name)
	return s != nil && slices.ContainsFunc(types, func(t string) bool {
		return strings.EqualFold(strings.TrimSpace(t), s.desc.Label)
	})
}

// checkGroup checks what names a group names.
func (p *plan) checkGroup(s *nodeSpec, known []string) {
	if !s.node.Exists() {
		return
	}
	for j, name := range s.group.Proxies {
		switch {
		case name == dispatch.Global:
			p.add(s.node.Get("proxies").At(j).Errorf("GLOBAL holds all groups and cannot be a member"))
		case !slices.Contains(known, name):
			p.add(unknownName(s.node.Get("proxies").At(j), name, known))
		}
	}
	for j, name := range s.group.Use {
		if at := s.node.GetLoose("use").At(j); !p.doc.ProxyProviders.Get(name).Exists() {
			p.add(at.Errorf("proxy-provider %q is not defined", name))
		}
	}
	at := s.node.GetLoose("empty-fallback")
	to := p.spec(s.group.EmptyFallback)
	switch {
	case !at.Exists():
	case to == nil && !slices.Contains(known, s.group.EmptyFallback):
		p.add(unknownName(at, s.group.EmptyFallback, known))
	case to != nil && to.kind == framework.KindGroup:
		p.add(at.Errorf("%q is a group: want a proxy", to.name))
	}
}

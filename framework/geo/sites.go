package geo

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"weak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/ruleset"
)

// sites is a list that Reload exchanges.
type sites struct {
	matcher atomic.Pointer[matcher]
	not     bool
}

// Has implements framework.Sites.
func (s *sites) Has(host string) bool {
	return host != "" && s.matcher.Load().has(host) != s.not
}

// Entry implements framework.Sites.
func (s *sites) Entry(host string) string {
	if !s.Has(host) {
		return ""
	}
	if s.not {
		return "none"
	}
	return s.matcher.Load().entry(host)
}

// Len implements framework.Sites.
func (s *sites) Len() int { return s.matcher.Load().count }

// Sites implements framework.Geo.
func (d *Data) Sites(list string) (framework.Sites, error) {
	list = strings.ToLower(strings.TrimSpace(list))
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sites[list].Value(); s != nil {
		return s, nil
	}
	m, err := readSites(d.dir, list)
	if err != nil {
		return nil, err
	}
	s := &sites{not: strings.HasPrefix(list, "!")}
	s.matcher.Store(m)
	d.sites[list] = weak.Make(s)
	return s, nil
}

// matcher is one list, made ready.
type matcher struct {
	names    *ruleset.Domains
	keywords []string
	patterns []*regexp.Regexp
	count    int
}

func (m *matcher) has(host string) bool {
	if m.names.Has(host) {
		return true
	}
	for _, k := range m.keywords {
		if strings.Contains(host, k) {
			return true
		}
	}
	for _, p := range m.patterns {
		if p.MatchString(host) {
			return true
		}
	}
	return false
}

// entry is the entry that matches, with the type before it where that is no
// domain.
func (m *matcher) entry(host string) string {
	if e := m.names.Entry(host); e != "" {
		return e
	}
	for _, k := range m.keywords {
		if strings.Contains(host, k) {
			return "keyword:" + k
		}
	}
	for _, p := range m.patterns {
		if p.MatchString(host) {
			return "regexp:" + p.String()
		}
	}
	return ""
}

// readSites makes "list@attribute…", with or without a "!" before it.
func readSites(dir, list string) (*matcher, error) {
	name, attrs, _ := strings.Cut(strings.TrimPrefix(list, "!"), "@")
	data, err := readList(dir, siteNames, strings.TrimSpace(name))
	if err != nil {
		return nil, err
	}
	var want []string
	for a := range strings.SplitSeq(attrs, "@") {
		if a = strings.TrimSpace(a); a != "" {
			want = append(want, a)
		}
	}
	m, err := decodeSites(data, want)
	if err != nil {
		return nil, fmt.Errorf("geosite.dat, list %q: %w", name, err)
	}
	return m, nil
}

// The types of an entry.
const (
	typeKeyword = iota
	typePattern
	typeDomain // and all below
	typeFull
)

// decodeSites reads a GeoSite message: entries at field 2. Entries without all
// of the attributes are left out. An entry that is wrong never matches.
func decodeSites(list []byte, want []string) (*matcher, error) {
	m := &matcher{}
	b := ruleset.NewDomainsBuilder()
	err := eachField(list, func(f field) error {
		if f.num != 2 {
			return nil
		}
		typ, value, attrs, err := decodeDomain(f.bytes)
		if err != nil {
			return err
		}
		for _, a := range want {
			if !slices.Contains(attrs, a) {
				return nil
			}
		}
		m.count++
		switch typ {
		case typeKeyword:
			m.keywords = append(m.keywords, strings.ToLower(value))
		case typePattern:
			if p, err := regexp.Compile(value); err == nil {
				m.patterns = append(m.patterns, p)
			}
		case typeDomain:
			_ = b.Add([]byte("+." + value))
		case typeFull:
			_ = b.Add([]byte(value))
		}
		return nil
	})
	m.names = b.Build()
	return m, err
}

// decodeDomain reads a Domain message: type, value, attributes. Of an attribute
// only the key counts.
func decodeDomain(b []byte) (typ uint64, value string, attrs []string, err error) {
	err = eachField(b, func(f field) error {
		switch f.num {
		case 1:
			typ = f.number
		case 2:
			value = string(f.bytes)
		case 3:
			key, err := code(f.bytes)
			attrs = append(attrs, strings.ToLower(key))
			return err
		}
		return nil
	})
	return typ, value, attrs, err
}

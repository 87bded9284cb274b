package ruleset

import (
	"slices"
	"strings"
)

// Domains is a set of names. It is immutable, safe for concurrent use, and a
// lookup allocates nothing. The nil set is empty.
//
// The entries are those of config-rules.md §6.2: "a.test" is that name, "+.x"
// is x and all below, ".x" all below, and * stands for one whole label.
//
// The set keeps 62 bits of a hash of each name and not the name, which takes
// ten bytes an entry and one memory access a label. The hash is keyed by
// chance, so that nobody can make a name that collides; a name that is not in
// a set of a million is taken for one that is once in 10¹² lookups.
type Domains struct {
	key   hashKey
	names hashes
	stems hashes // what stands behind a * that is a label: there a walk divides
	count int
}

// Len is the number of entries that the set was made of.
func (s *Domains) Len() int {
	if s == nil {
		return 0
	}
	return s.count
}

// Has says whether an entry matches host, in any letter case. Where many * can
// take a label the time may grow with the size of the set, not beyond.
func (s *Domains) Has(host string) bool {
	return s.Len() > 0 && host != "" && s.match(s.key.root(), host, nil)
}

// Entry is an entry that matches host, "" when there is none. It is for
// reports: it allocates.
func (s *Domains) Entry(host string) string {
	var tr trail
	if s.Len() == 0 || host == "" || !s.match(s.key.root(), host, &tr) {
		return ""
	}
	return tr.entry(strings.ToLower(host))
}

// match walks along host from its end; h is the hash of what is behind it. It
// says whether an entry matches; tr, which may be nil, learns which.
func (s *Domains) match(h uint64, host string, tr *trail) bool {
	for {
		if len(s.stems.slots) > 0 && s.stems.find(h) != 0 {
			rest := strings.LastIndexByte(host, '.')
			if rest < len(host)-1 && s.label(s.key.byte(h, '*'), host[:max(rest, 0)], tr) {
				if tr != nil {
					tr.stars = append(tr.stars, len(host))
				}
				return true
			}
		}
		i := len(host)
		for i > 0 && host[i-1] != '.' {
			i--
			h = s.key.byte(h, lower(host[i]))
		}
		rest := host[:max(i-1, 0)]
		flags := s.names.find(h)
		if rest == "" {
			return i == 0 && tr.found(flags, exact, "")
		}
		if flags&below != 0 {
			return tr.found(flags, below, rest)
		}
		h, host = s.key.dot(h), rest
	}
}

// label goes on behind a * that took a label; rest is what is before its dot.
func (s *Domains) label(h uint64, rest string, tr *trail) bool {
	flags := s.names.find(h)
	switch {
	case rest == "":
		return tr.found(flags, exact, "")
	case flags&below != 0:
		return tr.found(flags, below, rest)
	}
	return s.match(s.key.dot(h), rest, tr)
}

// trail is how a match was found, for reports.
type trail struct {
	flags byte  // what the set has of the name that matched
	rest  int   // how many bytes of the host are before that name and its dot
	stars []int // where in the host the labels end that * took
}

// found notes a match, when flags has want.
func (tr *trail) found(flags, want byte, rest string) bool {
	if flags&want != 0 && tr != nil {
		tr.flags, tr.rest = flags, len(rest)
	}
	return flags&want != 0
}

// entry writes what matched as a list has it.
func (tr *trail) entry(host string) string {
	var b strings.Builder
	b.WriteString(prefixOf(tr.flags))
	begin := tr.rest
	if begin > 0 {
		begin++ // the dot
	}
	for begin < len(host) {
		end := begin + strings.IndexByte(host[begin:]+".", '.')
		if slices.Contains(tr.stars, end) {
			b.WriteByte('*')
		} else {
			b.WriteString(host[begin:end])
		}
		if begin = end + 1; end < len(host) {
			b.WriteByte('.')
		}
	}
	return b.String()
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c += 'a' - 'A'
	}
	return c
}

// DomainsBuilder collects entries and makes a set of them. The zero builder is
// not ready; use NewDomainsBuilder.
type DomainsBuilder struct {
	key   hashKey
	names hashList
	stems hashList
	count int
}

// NewDomainsBuilder makes an empty builder.
func NewDomainsBuilder() *DomainsBuilder {
	return &DomainsBuilder{key: newHashKey()}
}

// Add takes one entry and does not keep it; it says what is wrong with it.
func (b *DomainsBuilder) Add(entry []byte) error {
	n, err := parseName(entry)
	if err != nil {
		return err
	}
	h := b.key.root()
	for i := len(n.text) - 1; i >= 0; i-- {
		c := n.text[i]
		if c == '.' {
			h = b.key.dot(h)
			continue
		}
		if c == '*' && atStart(h) {
			b.stems.add(h | exact)
		}
		h = b.key.byte(h, lower(c))
	}
	b.names.add(h | uint64(n.flags))
	b.count++
	return nil
}

// Build makes the set. The builder is used up.
func (b *DomainsBuilder) Build() *Domains {
	return &Domains{key: b.key, names: b.names.table(), stems: b.stems.table(), count: b.count}
}

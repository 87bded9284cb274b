package ruleset

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// Domains is a set of names. It is immutable, safe for concurrent use, and a
// lookup allocates nothing. The nil set is empty.
//
// The entries are those of config-rules.md §6.2: "a.test" is that name, "+.x"
// is x and all below, ".x" all below, and * stands for one whole label.
type Domains struct {
	trie  *trie
	count int
}

// Len is the number of entries that the set was made of.
func (s *Domains) Len() int {
	if s == nil {
		return 0
	}
	return s.count
}

// Has says whether an entry matches host, in any letter case.
func (s *Domains) Has(host string) bool {
	return s != nil && host != "" && s.match(0, host) >= 0
}

// Entry is an entry that matches host, "" when there is none. It is for
// reports: it allocates and takes longer than Has.
func (s *Domains) Entry(host string) string {
	if s == nil || host == "" {
		return ""
	}
	node := s.match(0, host)
	if node < 0 {
		return ""
	}
	reversed := s.trie.path(node)
	slices.Reverse(reversed)
	return s.entry(node, reversed)
}

// entry writes the string of a leaf, its end first, as a list has it.
func (s *Domains) entry(node int, reversed []byte) string {
	text := slices.Clone(reversed)
	slices.Reverse(text)
	rest, sub := bytes.CutPrefix(text, []byte("+."))
	switch {
	case sub && s.trie.leaf(s.trie.parent(s.trie.parent(node))):
		return string(text)
	case sub:
		return "." + string(rest)
	case s.below(node):
		return "+." + string(text)
	}
	return string(text)
}

// below says whether all names below that of node are in the set.
func (s *Domains) below(node int) bool {
	dot := s.trie.child(node, '.')
	if dot == 0 {
		return false
	}
	plus := s.trie.child(dot, '+')
	return plus != 0 && s.trie.leaf(plus)
}

// match walks from node, where a label begins, along host from its end. It
// returns the leaf that it reaches, or -1.
func (s *Domains) match(node int, host string) int {
	t := s.trie
	for host != "" {
		first, n := t.children(node)
		if n == 0 {
			return -1
		}
		if plus := t.find(first, n, '+'); plus != 0 && t.leaf(plus) {
			return plus
		}
		if star := t.find(first, n, '*'); star != 0 {
			if leaf := s.skip(star, host); leaf >= 0 {
				return leaf
			}
		}
		var dot bool
		if node, host, dot = t.label(first, n, host); node == 0 {
			return -1
		} else if !dot {
			break
		} else if host == "" {
			return -1
		}
	}
	if node > 0 && t.leaf(node) {
		return node
	}
	return -1
}

// skip goes on behind an edge * that took the last label of host.
func (s *Domains) skip(star int, host string) int {
	dot := strings.LastIndexByte(host, '.')
	if dot < 0 {
		if s.trie.leaf(star) {
			return star
		}
		return -1
	}
	if next := s.trie.child(star, '.'); next != 0 {
		return s.match(next, host[:dot])
	}
	return -1
}

// label takes the last label of host and the dot before it off, byte by byte,
// beginning at a node's n edges from first on. node is 0 when there is no way.
func (t *trie) label(first, n int, host string) (node int, rest string, dot bool) {
	for {
		c := lower(host[len(host)-1])
		host = host[:len(host)-1]
		if node = t.find(first, n, c); node == 0 || c == '.' || host == "" {
			return node, host, c == '.'
		}
		first, n = t.children(node)
	}
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c += 'a' - 'A'
	}
	return c
}

// All are the entries, in the order of their reversed text.
func (s *Domains) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		if s == nil {
			return
		}
		s.trie.walk(func(nodes []int, key []byte) bool {
			if bytes.HasSuffix(key, []byte(".+")) && s.trie.leaf(nodes[len(nodes)-3]) {
				return true // given as "+.x" with x
			}
			return yield(s.entry(nodes[len(nodes)-1], key))
		})
	}
}

// What can be wrong with an entry of a domain list.
var (
	errEmptyEntry = errors.New("entry is empty")
	errSlash      = errors.New("a name has no slash")
	errControl    = errors.New("a name has no control characters")
	errSpace      = errors.New("a name neither begins nor ends with a space")
	errLabel      = errors.New("a label is empty")
	errPlus       = errors.New("+ is a whole first label only, with a name behind it")
	errLongName   = errors.New("name is longer than 253 bytes")
)

// maxName is the length of the longest name (RFC 1035 §2.3.4, as text).
const maxName = 253

// domainBuilder collects entries, reversed, and makes a set of them.
type domainBuilder struct {
	names arena
	count int
}

// add takes one entry of a list and does not keep it.
func (b *domainBuilder) add(entry []byte) error {
	mark, name, suffix := byte(markOne), entry, ""
	if rest, ok := bytes.CutPrefix(entry, []byte("+.")); ok {
		mark, name, suffix = markBoth, rest, ".+"
	} else if rest, ok := bytes.CutPrefix(entry, []byte(".")); ok {
		name, suffix = rest, ".+"
	}
	if err := checkName(name); err != nil {
		return err
	}
	if slices.ContainsFunc(name, func(c byte) bool { return c >= 0x80 }) {
		ascii, err := idna.Punycode.ToASCII(strings.ToLower(string(name)))
		if err != nil {
			return err
		}
		name = []byte(ascii)
	}
	if len(name) > maxName {
		return errLongName
	}
	b.put(name, suffix, mark)
	b.count++
	return nil
}

// checkName says what is wrong with the part of an entry behind +. and dot.
func checkName(name []byte) error {
	if len(name) == 0 {
		return errEmptyEntry
	}
	if name[0] == ' ' || name[len(name)-1] == ' ' {
		return errSpace
	}
	last := byte('.')
	for i, c := range name {
		switch {
		case c == '/':
			return errSlash
		case c < ' ' || c == 0x7f:
			return errControl
		case c == '.' && last == '.':
			return errLabel
		case c == '+' && last == '.' && (i+1 == len(name) || name[i+1] == '.'):
			return errPlus
		}
		last = c
	}
	if last == '.' {
		return errLabel
	}
	return nil
}

// put adds a name, from its end, with what stands before it.
func (b *domainBuilder) put(name []byte, suffix string, mark byte) {
	block := b.names.room(len(name) + 3)
	out := *block
	for i := len(name) - 1; i >= 0; i-- {
		out = append(out, lower(name[i]))
	}
	out = append(out, suffix...)
	*block = append(out, mark)
	b.names.count++
}

func (b *domainBuilder) build() *Domains {
	return &Domains{trie: buildTrie(&b.names), count: b.count}
}

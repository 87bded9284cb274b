// Package ruleset reads the lists of rule providers and keeps them small: a
// set of names is a succinct trie, a set of addresses is sorted ranges, and a
// classical list is its lines. It reads the three formats (yaml, text, mrs),
// writes text and mrs, and converts between them. Where lists come from and
// when they are fetched again is the providers' business; what a classical
// line means is the router's.
//
// Specification: the facts in config-rules.md §6 and §7.
package ruleset

import (
	"errors"
	"fmt"
	"io"
)

// Behavior is what the entries of a list are.
type Behavior uint8

// The behaviors, numbered as mrs files do.
const (
	Domain Behavior = iota
	IPCIDR
	Classical
)

// ParseBehavior reads a behavior as the configuration spells it: in lower
// case only.
func ParseBehavior(s string) (Behavior, error) {
	for b, name := range behaviorKeys {
		if s == name {
			return Behavior(b), nil
		}
	}
	return 0, fmt.Errorf("behavior %q: want domain, ipcidr or classical", s)
}

var behaviorKeys = [...]string{"domain", "ipcidr", "classical"}

// String is the behavior as the REST API spells it.
func (b Behavior) String() string { return [...]string{"Domain", "IPCIDR", "Classical"}[b] }

// Format is how a list is written.
type Format uint8

// The formats.
const (
	YAML Format = iota
	Text
	MRS
)

// ParseFormat reads a format as the configuration spells it; "" is yaml.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "", "yaml":
		return YAML, nil
	case "text":
		return Text, nil
	case "mrs":
		return MRS, nil
	}
	return 0, fmt.Errorf("format %q: want yaml, text or mrs", s)
}

// String is the format as the REST API spells it.
func (f Format) String() string { return [...]string{"YamlRule", "TextRule", "MrsRule"}[f] }

// DefaultLimit bounds a list for which the user set no size-limit, in bytes.
// Chosen: three times a text list of a million names.
const DefaultLimit = 64 << 20

// Errors of Read. ErrFormat wraps what is wrong with an mrs file.
var (
	ErrTooLarge = errors.New("list is larger than its limit")
	ErrFormat   = errors.New("not an mrs file")
)

// Set is a list that was read. It is immutable and safe for concurrent use.
// One of Domains, Prefixes and Lines is in use, by Behavior.
type Set struct {
	Behavior Behavior
	Domains  *Domains
	Prefixes *Prefixes
	Lines    []Line // of a classical list, in order
	Bad      Bad    // what was skipped
}

// Len is the number of entries that were accepted.
func (s *Set) Len() int {
	switch s.Behavior {
	case Domain:
		return s.Domains.Len()
	case IPCIDR:
		return s.Prefixes.Len()
	}
	return len(s.Lines)
}

// Read reads a list to its end. limit bounds the bytes that it takes from r;
// 0 is DefaultLimit. Entries that are wrong are skipped and told in Bad. It
// fails for what cannot be read at all: an error of r, ErrTooLarge, ErrFormat.
func Read(b Behavior, f Format, r io.Reader, limit int64) (*Set, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	in := &bounded{r: r, left: limit}
	if f == MRS {
		return readMRS(b, in)
	}
	c := newCollector(b)
	var err error
	if f == YAML {
		err = readYAML(in, c.entry)
	} else {
		err = readText(in, c.entry)
	}
	if err != nil {
		return nil, err
	}
	return c.set()
}

// Inline makes a set of items, as the payload of an inline provider has them.
// Bad counts them from 1.
func Inline(b Behavior, items []string) (*Set, error) {
	c := newCollector(b)
	for i, item := range items {
		c.entry(i+1, []byte(item), nil)
	}
	return c.set()
}

// bounded fails with ErrTooLarge when more than left bytes come out of r.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 { // one more tells an exact fit from too much
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n, ErrTooLarge
	}
	return n, err
}

// Bad is what was skipped: how many entries, and the first few of them.
type Bad struct {
	Count int
	First []EntryError
}

// keepBad is how many bad entries a Bad describes; chosen: enough to see what
// is wrong with a list that is wrong throughout.
const keepBad = 5

// EntryError is what is wrong with one entry.
type EntryError struct {
	Line int    // from 1; of an inline list, the item
	Text string // the entry, cut to 80 bytes
	Err  error
}

func (e EntryError) Error() string { return fmt.Sprintf("line %d: %q: %v", e.Line, e.Text, e.Err) }

func (e EntryError) Unwrap() error { return e.Err }

func (b *Bad) add(line int, text []byte, err error) {
	b.Count++
	if len(b.First) < keepBad {
		b.First = append(b.First, EntryError{line, string(text[:min(len(text), 80)]), err})
	}
}

// collector takes the entries of a text form one by one.
type collector struct {
	behavior Behavior
	names    *DomainsBuilder
	prefixes *PrefixesBuilder
	lines    []Line
	bad      Bad
}

func newCollector(b Behavior) *collector {
	c := &collector{behavior: b}
	switch b {
	case Domain:
		c.names = NewDomainsBuilder()
	case IPCIDR:
		c.prefixes = new(PrefixesBuilder)
	}
	return c
}

// entry takes one entry and does not keep it; err is what its reader found
// wrong with it.
func (c *collector) entry(line int, text []byte, err error) {
	if err == nil {
		switch c.behavior {
		case Domain:
			err = c.names.Add(text)
		case IPCIDR:
			err = c.prefixes.Add(text)
		default:
			var l Line
			if l, err = parseLine(string(text)); err == nil {
				l.Number = line
				c.lines = append(c.lines, l)
			}
		}
	}
	if err != nil {
		c.bad.add(line, text, err)
	}
}

func (c *collector) set() (*Set, error) {
	s := &Set{Behavior: c.behavior, Lines: c.lines, Bad: c.bad}
	switch c.behavior {
	case Domain:
		s.Domains = c.names.Build()
	case IPCIDR:
		s.Prefixes = c.prefixes.Build()
	}
	return s, nil
}

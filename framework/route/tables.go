package route

import (
	"net/netip"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// table finds, among the rules with keys on one fact, those that hold.
type table interface {
	// next is the lowest rule from from on that holds, else none.
	next(f *framework.Flow, facts framework.Facts, from int32) int32
}

// posting is the rules that one text leads to: 0 is none, n+1 is rule n alone,
// and -i-1 is list i of the table.
type posting int32

type postings [][]int32

// add puts a rule behind those that p has.
func (l *postings) add(p posting, rule int32) posting {
	switch {
	case p == 0 || p == posting(rule+1):
		return posting(rule + 1)
	case p > 0:
		*l = append(*l, []int32{int32(p) - 1, rule})
		return posting(-len(*l))
	}
	list := &(*l)[-p-1]
	if (*list)[len(*list)-1] != rule {
		*list = append(*list, rule)
	}
	return p
}

func (l postings) next(p posting, from int32) int32 {
	switch {
	case p == 0 || p > 0 && int32(p) <= from:
		return none
	case p > 0:
		return int32(p) - 1
	}
	return firstFrom(l[-p-1], from)
}

// hostTable is for host names. A name is looked up label by label from the
// right, no deeper than the deepest name in the table.
type hostTable struct {
	names map[string]hostRules
	lists postings
	dots  int // the most that a name has
}

type hostRules struct{ exact, suffix posting }

func (t *hostTable) add(k framework.Key, rule int32) {
	if t.names == nil {
		t.names = map[string]hostRules{}
	}
	r := t.names[k.Name]
	if k.Fact == framework.FactHost {
		r.exact = t.lists.add(r.exact, rule)
	} else {
		r.suffix = t.lists.add(r.suffix, rule)
	}
	t.names[k.Name] = r
	t.dots = max(t.dots, strings.Count(k.Name, "."))
}

func (t *hostTable) next(_ *framework.Flow, facts framework.Facts, from int32) int32 {
	host, found := facts.Host(), int32(none)
	begin := len(host) + 1 // as if a dot stood behind the name
	for range t.dots + 1 {
		begin = strings.LastIndexByte(host[:begin-1], '.') + 1
		r := t.names[host[begin:]]
		found = min(found, t.lists.next(r.suffix, from))
		if begin == 0 {
			found = min(found, t.lists.next(r.exact, from))
		}
		if begin == 0 || found == from {
			return found
		}
	}
	return found
}

// textTable is for facts that are one text.
type textTable struct {
	of    func(*framework.Flow) string
	texts map[string]posting
	lists postings
}

func (t *textTable) add(k framework.Key, rule int32) {
	if t.texts == nil {
		t.texts = map[string]posting{}
	}
	t.texts[k.Name] = t.lists.add(t.texts[k.Name], rule)
}

func (t *textTable) next(f *framework.Flow, _ framework.Facts, from int32) int32 {
	return t.lists.next(t.texts[t.of(f)], from)
}

// addressTable is for the source's or the destination's address.
type addressTable struct {
	of     func(*framework.Flow, framework.Facts) netip.Addr
	v4, v6 spans
}

func (t *addressTable) next(f *framework.Flow, facts framework.Facts, from int32) int32 {
	ip := t.of(f, facts).Unmap()
	switch {
	case ip.Is4():
		return t.v4.next(wideAddr(ip), from)
	case ip.Is6():
		return t.v6.next(wideAddr(ip), from)
	}
	return none
}

// numberTable is for ports and other small numbers.
type numberTable struct {
	of func(*framework.Flow) uint16
	spans
}

func (t *numberTable) next(f *framework.Flow, _ framework.Facts, from int32) int32 {
	return t.spans.next(wide{lo: uint64(t.of(f))}, from)
}

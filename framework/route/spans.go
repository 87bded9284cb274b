package route

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
)

// none is behind all rule numbers.
const none = math.MaxInt32

// wide is a number of 128 bits: an address, or a port in its low half.
type wide struct{ hi, lo uint64 }

func (a wide) less(b wide) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a wide) compare(b wide) int {
	switch {
	case a.less(b):
		return -1
	case b.less(a):
		return 1
	}
	return 0
}

// next is a+1; ok is false behind the largest number.
func (a wide) next() (_ wide, ok bool) {
	a.lo++
	if a.lo == 0 {
		a.hi++
	}
	return a, a != wide{}
}

// wideAddr is the bits of ip; those of an IPv4 address are low.
func wideAddr(ip netip.Addr) wide {
	if ip.Is4() {
		b := ip.As4()
		return wide{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := ip.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// span is a range of numbers, both ends included, for which a rule holds.
type span struct {
	low, high wide
	rule      int32
}

// prefixSpan is the addresses in p, which is valid.
func prefixSpan(p netip.Prefix, rule int32) span {
	low := wideAddr(p.Masked().Addr())
	high, host := low, p.Addr().BitLen()-p.Bits()
	if host > 64 {
		high.hi |= 1<<(host-64) - 1
		host = 64
	}
	high.lo |= 1<<host - 1 // a shift by 64 gives 0, and so all ones
	return span{low, high, rule}
}

// spans finds the rules whose ranges hold a number. It is a segment tree: the
// ends of all ranges cut the numbers into leaves; a range is written to the few
// nodes that make it up, so that n ranges, however they overlap, take n·log n
// places and the ranges around a leaf are those on its way to the root.
//
// The nodes of m leaves are 1 … 2m-1; leaf i is node m+i, the parent of node k
// is k/2.
type spans struct {
	bounds []wide  // where each leaf begins, ascending from 0
	best   []int32 // by leaf: the lowest rule of all around it, else none
	starts []int32 // by node: where its rules begin in rules; one more at the end
	rules  []int32 // ascending within a node
}

// newSpans makes the tree of list, which is in the order of the rules.
func newSpans(list []span) spans {
	if len(list) == 0 {
		return spans{}
	}
	s := spans{bounds: []wide{{}}}
	for _, e := range list {
		s.bounds = append(s.bounds, e.low)
		if behind, ok := e.high.next(); ok {
			s.bounds = append(s.bounds, behind)
		}
	}
	slices.SortFunc(s.bounds, wide.compare)
	s.bounds = slices.Clip(slices.Compact(s.bounds))
	m := len(s.bounds)

	s.starts = make([]int32, 2*m+1)
	for _, e := range list {
		s.cover(e, func(node int) { s.starts[node+1]++ })
	}
	for i := range 2 * m {
		s.starts[i+1] += s.starts[i]
	}
	s.rules = make([]int32, s.starts[2*m])
	free := slices.Clone(s.starts)
	for _, e := range list {
		s.cover(e, func(node int) {
			s.rules[free[node]] = e.rule
			free[node]++
		})
	}
	s.best = make([]int32, m)
	for i := range s.best {
		s.best[i] = s.around(i, 0)
	}
	return s
}

// cover calls f with the nodes that make up e.
func (s *spans) cover(e span, f func(node int)) {
	m := len(s.bounds)
	from, to := m+s.leaf(e.low), m+s.leaf(e.high)+1
	for ; from < to; from, to = from/2, to/2 {
		if from%2 == 1 {
			f(from)
			from++
		}
		if to%2 == 1 {
			to--
			f(to)
		}
	}
}

// leaf is the last one that begins at or before x.
func (s *spans) leaf(x wide) int {
	low, high := 0, len(s.bounds)
	for low < high {
		mid := int(uint(low+high) / 2)
		if x.less(s.bounds[mid]) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low - 1
}

// around is the lowest rule from from on among those around a leaf.
func (s *spans) around(leaf int, from int32) int32 {
	found := int32(none)
	for node := len(s.bounds) + leaf; node > 0; node /= 2 {
		found = min(found, firstFrom(s.rules[s.starts[node]:s.starts[node+1]], from))
	}
	return found
}

// next is the lowest rule from from on that holds for x, else none.
func (s *spans) next(x wide, from int32) int32 {
	if len(s.bounds) == 0 {
		return none
	}
	leaf := s.leaf(x)
	if best := s.best[leaf]; best >= from {
		return best
	}
	return s.around(leaf, from)
}

// firstFrom is the first of the ascending rules that is from or more, else
// none.
func firstFrom(rules []int32, from int32) int32 {
	i, _ := slices.BinarySearch(rules, from)
	if i == len(rules) {
		return none
	}
	return rules[i]
}

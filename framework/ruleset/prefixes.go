package ruleset

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"sort"
)

// Prefixes is a set of addresses. It is immutable, safe for concurrent use,
// and a lookup allocates nothing. The nil set is empty. Ranges that touch are
// one range, so that Entry and All do not give the entries as written.
type Prefixes struct {
	v4     ranges[uint32]
	wide   ranges[uint64] // IPv6 ranges of whole /64 networks, by their upper half
	narrow ranges[wide]   // all other IPv6 ranges
	count  int
}

// wide is an IPv6 address as a number.
type wide struct{ hi, lo uint64 }

// mapped says whether a is an IPv4 address in IPv6's form.
func (a wide) mapped() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

func compareWide(a, b wide) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// ranges are sorted and do not touch: from[i] to to[i], both included. Two
// slices, so that a search reads half of the memory.
type ranges[T any] struct{ from, to []T }

// Len is the number of entries that the set was made of.
func (s *Prefixes) Len() int {
	if s == nil {
		return 0
	}
	return s.count
}

// Has says whether ip is in the set. Its zone does not matter, and a mapped
// IPv4 address is the IPv4 address.
func (s *Prefixes) Has(ip netip.Addr) bool {
	_, _, ok := s.find(ip)
	return ok
}

// Entry is the prefix of the set that holds ip.
func (s *Prefixes) Entry(ip netip.Addr) (netip.Prefix, bool) {
	from, to, ok := s.find(ip)
	if !ok {
		return netip.Prefix{}, false
	}
	for p := range split(from, to) {
		if p.Contains(ip.Unmap().WithZone("")) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// find is the range that holds ip.
func (s *Prefixes) find(ip netip.Addr) (from, to netip.Addr, ok bool) {
	if s == nil || !ip.IsValid() {
		return from, to, false
	}
	if ip = ip.Unmap(); ip.Is4() {
		n := number4(ip)
		i := sort.Search(len(s.v4.from), func(i int) bool { return s.v4.from[i] > n }) - 1
		if i < 0 || s.v4.to[i] < n {
			return from, to, false
		}
		return addr4(s.v4.from[i]), addr4(s.v4.to[i]), true
	}
	n := number(ip)
	i := sort.Search(len(s.wide.from), func(i int) bool { return s.wide.from[i] > n.hi }) - 1
	if i >= 0 && s.wide.to[i] >= n.hi {
		return addr(wide{s.wide.from[i], 0}), addr(wide{s.wide.to[i], ^uint64(0)}), true
	}
	i = sort.Search(len(s.narrow.from), func(i int) bool { return compareWide(s.narrow.from[i], n) > 0 }) - 1
	if i >= 0 && compareWide(s.narrow.to[i], n) >= 0 {
		return addr(s.narrow.from[i]), addr(s.narrow.to[i]), true
	}
	return from, to, false
}

// All are the prefixes that make up the set, IPv4 first, each family in order.
func (s *Prefixes) All() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if s == nil {
			return
		}
		for from, to := range s.spans(s.six()) {
			for p := range split(from, to) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// spans are the ranges, IPv4 first, each family in order; six is all of IPv6.
func (s *Prefixes) spans(six ranges[wide]) iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(from, to netip.Addr) bool) {
		for i, from := range s.v4.from {
			if !yield(addr4(from), addr4(s.v4.to[i])) {
				return
			}
		}
		for i, from := range six.from {
			if !yield(addr(from), addr(six.to[i])) {
				return
			}
		}
	}
}

// six joins both kinds of IPv6 ranges into one order.
func (s *Prefixes) six() ranges[wide] {
	all := make([][2]wide, 0, len(s.wide.from)+len(s.narrow.from))
	for i, from := range s.wide.from {
		all = append(all, [2]wide{{from, 0}, {s.wide.to[i], ^uint64(0)}})
	}
	for i, from := range s.narrow.from {
		all = append(all, [2]wide{from, s.narrow.to[i]})
	}
	return merge([][][2]wide{all}, compareWide, nextWide)
}

// split cuts a range into prefixes, the largest that fit, in order.
func split(from, to netip.Addr) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for {
			p := netip.PrefixFrom(from, from.BitLen())
			for p.Bits() > 0 {
				up, _ := from.Prefix(p.Bits() - 1)
				if up.Addr() != from || last(up).Compare(to) > 0 {
					break
				}
				p = up
			}
			end := last(p)
			if !yield(p) || end == to {
				return
			}
			from = end.Next()
		}
	}
}

// last is the last address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	fixed := p.Bits() + 128 - p.Addr().BitLen()
	for i := range b {
		if free := min(max(8*(i+1)-fixed, 0), 8); free > 0 {
			b[i] |= byte(1<<free - 1)
		}
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		return a.Unmap()
	}
	return a
}

func number4(ip netip.Addr) uint32 {
	b := ip.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func number(ip netip.Addr) wide {
	b := ip.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func addr(n wide) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

// merge sorts ranges and joins those that overlap or touch. next is the number
// behind one, false behind the last.
func merge[T any](blocks [][][2]T, compare func(a, b T) int, next func(T) (T, bool)) ranges[T] {
	all := slices.Concat(blocks...)
	byFrom := func(a, b [2]T) int { return compare(a[0], b[0]) }
	if !slices.IsSortedFunc(all, byFrom) {
		slices.SortFunc(all, byFrom)
	}
	kept := all[:0]
	for _, r := range all {
		if n := len(kept); n > 0 {
			top := &kept[n-1]
			behind, ok := next(top[1])
			if !ok || compare(r[0], behind) <= 0 {
				if compare(r[1], top[1]) > 0 {
					top[1] = r[1]
				}
				continue
			}
		}
		kept = append(kept, r)
	}
	out := ranges[T]{make([]T, len(kept)), make([]T, len(kept))}
	for i, r := range kept {
		out.from[i], out.to[i] = r[0], r[1]
	}
	return out
}

func next32(n uint32) (uint32, bool) { return n + 1, n != ^uint32(0) }

func next64(n uint64) (uint64, bool) { return n + 1, n != ^uint64(0) }

func nextWide(n wide) (wide, bool) {
	n.lo++
	if n.lo == 0 {
		n.hi++
	}
	return n, n != wide{}
}

package ruleset

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
)

// What can be wrong with an entry of an address list.
var (
	errNoPrefix  = errors.New("not an address or prefix")
	errBackwards = errors.New("range ends before it begins")
)

// PrefixesBuilder collects ranges and makes a set of them. The zero builder is
// empty and ready.
type PrefixesBuilder struct {
	v4     blocks[uint32]
	wide   blocks[uint64]
	narrow blocks[wide]
	count  int
}

// blocks is a list of ranges that grows without moving what it has.
type blocks[T any] [][][2]T

// rangesPerBlock is chosen: a block of half a megabyte for IPv4.
const rangesPerBlock = 1 << 16

func (b *blocks[T]) add(from, to T) {
	n := len(*b) - 1
	switch {
	case n < 0:
		*b = append(*b, nil) // the first block grows: small lists are many
		n = 0
	case len((*b)[n]) == rangesPerBlock:
		*b = append(*b, make([][2]T, 0, rangesPerBlock))
		n++
	}
	(*b)[n] = append((*b)[n], [2]T{from, to})
}

// Add takes one entry and does not keep it: a prefix, whose host bits do not matter, or an address.
func (b *PrefixesBuilder) Add(entry []byte) error {
	if ip, bits, ok := prefix4(entry); ok {
		mask := ^uint32(0) << (32 - bits) // shifting by 32 gives 0
		b.v4.add(ip&mask, ip|^mask)
		b.count++
		return nil
	}
	p, ok := parsePrefix(string(entry))
	if !ok {
		return errNoPrefix
	}
	return b.AddPrefix(p)
}

// parsePrefix reads what prefix4 does not. A zone is left out.
func parsePrefix(s string) (netip.Prefix, bool) {
	head, zone, ok := bytes.Cut([]byte(s), []byte("%"))
	if ok {
		_, mask, _ := bytes.Cut(zone, []byte("/"))
		if s = string(head); len(mask) > 0 {
			s += "/" + string(mask)
		}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return p, false
		}
		p = netip.PrefixFrom(ip, ip.BitLen())
	}
	return p, true
}

// prefix4 reads an IPv4 address or prefix as netip does, without a string.
func prefix4(b []byte) (ip uint32, bits int, ok bool) {
	i := 0
	for part := range 4 {
		if part > 0 {
			if i == len(b) || b[i] != '.' {
				return 0, 0, false
			}
			i++
		}
		n, used := decimal(b[i:], 255)
		if used == 0 {
			return 0, 0, false
		}
		ip, i = ip<<8|uint32(n), i+used
	}
	if i == len(b) {
		return ip, 32, true
	}
	if b[i] != '/' {
		return 0, 0, false
	}
	n, used := decimal(b[i+1:], 32)
	return ip, n, used > 0 && i+1+used == len(b)
}

// decimal reads digits without a leading zero up to limit; used is 0 for none.
func decimal(b []byte, limit int) (n, used int) {
	for used < len(b) && b[used]-'0' < 10 {
		n = n*10 + int(b[used]-'0')
		used++
		if n > limit || used == 2 && b[0] == '0' {
			return 0, 0
		}
	}
	return n, used
}

// addRange takes the addresses from from to to. Both are of one family, and
// IPv4 ones are not mapped.
func (b *PrefixesBuilder) addRange(from, to netip.Addr) error {
	if from.Is4() != to.Is4() || to.Less(from) {
		return errBackwards
	}
	if from.Is4() {
		b.v4.add(number4(from), number4(to))
		return nil
	}
	b.add6(number(from), number(to))
	return nil
}

func (b *PrefixesBuilder) add6(from, to wide) {
	if from.lo == 0 && to.lo == ^uint64(0) {
		b.wide.add(from.hi, to.hi)
		return
	}
	b.narrow.add(from, to)
}

// Build makes the set. The builder is used up.
func (b *PrefixesBuilder) Build() *Prefixes {
	return &Prefixes{
		v4:     merge(b.v4, cmp.Compare[uint32], next32),
		wide:   merge(b.wide, cmp.Compare[uint64], next64),
		narrow: merge(b.narrow, compareWide, nextWide),
		count:  b.count,
	}
}

// AddPrefix takes the addresses of a prefix, whose host bits do not matter.
func (b *PrefixesBuilder) AddPrefix(p netip.Prefix) error {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p = p.Masked(); !p.IsValid() {
		return errNoPrefix
	}
	b.count++
	return b.addRange(p.Addr(), last(p))
}

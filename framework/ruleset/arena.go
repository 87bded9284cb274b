package ruleset

// arena holds names, their end first, each ended by a mark: a byte that says
// what the set has there. They lie in blocks and cross none; a place in it is
// block<<blockBits | offset. Blocks keep the peak low, for growing copies
// nothing.
type arena struct {
	blocks [][]byte
	count  int
}

// marks is how many there are; bytes from it on are text. A mark is the flags
// of a name less one.
const marks = 3

const blockBits = 20

// room is the last block, with n bytes of capacity left.
func (a *arena) room(n int) *[]byte {
	if last := len(a.blocks) - 1; last >= 0 && len(a.blocks[last])+n <= 1<<blockBits {
		return &a.blocks[last]
	}
	size := 1 << blockBits
	if len(a.blocks) == 0 {
		size = 512 // small lists are many; this block grows
	}
	a.blocks = append(a.blocks, make([]byte, 0, size))
	return &a.blocks[len(a.blocks)-1]
}

// put adds a name in lower case, turned round.
func (a *arena) put(name []byte, mark byte) {
	block := a.room(len(name) + 1)
	out := *block
	for i := len(name) - 1; i >= 0; i-- {
		out = append(out, lower(name[i]))
	}
	*block = append(out, mark)
	a.count++
}

// at is the name at a place, and what follows it.
func (a *arena) at(place uint32) []byte {
	return a.blocks[place>>blockBits][place&(1<<blockBits-1):]
}

// places are the places of all names in the order of adding.
func (a *arena) places() []uint32 {
	out := make([]uint32, 0, a.count)
	for i, block := range a.blocks {
		begin := 0
		for j, c := range block {
			if c < marks {
				out = append(out, uint32(i<<blockBits|begin))
				begin = j + 1
			}
		}
	}
	return out
}

// sorted are the places in the order of their names. Marks have no order.
func (a *arena) sorted() []uint32 {
	s := sorter{arena: a, places: a.places()}
	s.spare = make([]uint32, len(s.places))
	s.bytes = make([]byte, len(s.places))
	s.radix(0, len(s.places), 0)
	return s.places
}

// sorter is a radix sort from the first byte on: names that are turned round
// share long beginnings, which a comparing sort reads again and again.
type sorter struct {
	*arena
	places, spare []uint32
	bytes         []byte
}

// few is the length below which inserting is faster; measured with a million
// names between 8 and 64.
const few = 24

// radix sorts places[lo:hi], whose names agree in their first depth bytes.
func (s *sorter) radix(lo, hi, depth int) {
	for hi-lo > few {
		var count [256]int32
		for i := lo; i < hi; i++ {
			p := s.places[i]
			c := s.blocks[p>>blockBits][int(p&(1<<blockBits-1))+depth]
			s.bytes[i] = c
			count[c]++
		}
		if c := s.bytes[lo]; count[c] == int32(hi-lo) {
			if c < marks {
				return
			}
			depth++
			continue
		}
		s.scatter(lo, hi, &count)
		for c, begin := 0, lo; c < 256; c++ {
			n := int(count[c])
			if c >= marks && n > 1 {
				s.radix(begin, begin+n, depth+1)
			}
			begin += n
		}
		return
	}
	s.insert(lo, hi, depth)
}

// scatter orders places[lo:hi] by the bytes beside them.
func (s *sorter) scatter(lo, hi int, count *[256]int32) {
	var next [256]int32
	sum := int32(lo)
	for c, n := range count {
		next[c] = sum
		sum += n
	}
	for i := lo; i < hi; i++ {
		c := s.bytes[i]
		s.spare[next[c]] = s.places[i]
		next[c]++
	}
	copy(s.places[lo:hi], s.spare[lo:hi])
}

func (s *sorter) insert(lo, hi, depth int) {
	for i := lo + 1; i < hi; i++ {
		p := s.places[i]
		text := s.at(p)[depth:]
		j := i
		for ; j > lo && less(text, s.at(s.places[j-1])[depth:]); j-- {
			s.places[j] = s.places[j-1]
		}
		s.places[j] = p
	}
}

// less compares two names that a mark ends.
func less(a, b []byte) bool {
	for i := 0; ; i++ {
		if a[i] != b[i] || a[i] < marks {
			return a[i] < b[i]
		}
	}
}

// common is the length of the beginning that two names share.
func common(a, b []byte) int {
	for i := 0; ; i++ {
		if a[i] < marks || a[i] != b[i] {
			return i
		}
	}
}

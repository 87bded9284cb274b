package ruleset

// arena holds strings, each ended by a byte below 2, in blocks: a string does
// not cross blocks. Its place is block<<blockBits | offset. Blocks keep the
// peak low, for growing copies nothing.
type arena struct {
	blocks [][]byte
	count  int
}

const blockBits = 20

// room is a slice with n bytes of capacity left at the end of the last block.
func (a *arena) room(n int) *[]byte {
	if last := len(a.blocks) - 1; last >= 0 && len(a.blocks[last])+n <= 1<<blockBits {
		return &a.blocks[last]
	}
	size := 1 << blockBits
	if len(a.blocks) == 0 {
		size = 512 // small lists are many
	}
	a.blocks = append(a.blocks, make([]byte, 0, size))
	return &a.blocks[len(a.blocks)-1]
}

// at is the string at a place, and what follows it.
func (a *arena) at(place uint32) []byte {
	return a.blocks[place>>blockBits][place&(1<<blockBits-1):]
}

// places are the places of all strings in the order of adding.
func (a *arena) places() []uint32 {
	out := make([]uint32, 0, a.count)
	for i, block := range a.blocks {
		begin := 0
		for j, c := range block {
			if c < 2 {
				out = append(out, uint32(i<<blockBits|begin))
				begin = j + 1
			}
		}
	}
	return out
}

// sorted are the places in the order of their strings. Two bytes below 2 are
// equal when they end equal strings.
func (a *arena) sorted() []uint32 {
	s := sorter{arena: a, places: a.places()}
	s.spare = make([]uint32, len(s.places))
	s.bytes = make([]byte, len(s.places))
	s.radix(0, len(s.places), 0)
	return s.places
}

// sorter is a radix sort from the first byte on: names share long beginnings
// once they are reversed, which a comparing sort reads again and again.
type sorter struct {
	*arena
	places, spare []uint32
	bytes         []byte
}

// few is the length below which inserting is faster; measured with a million
// names between 8 and 64.
const few = 24

// radix sorts places[lo:hi], whose strings agree in their first depth bytes.
func (s *sorter) radix(lo, hi, depth int) {
	for hi-lo > few {
		var count [256]int32
		for i := lo; i < hi; i++ {
			c := s.byteAt(s.places[i], depth)
			s.bytes[i] = c
			count[c]++
		}
		if c := s.bytes[lo]; count[c] == int32(hi-lo) {
			if c < 2 {
				return
			}
			depth++
			continue
		}
		s.scatter(lo, hi, &count)
		for c, begin := 0, lo; c < 256; c++ {
			if n := int(count[c]); n > 0 {
				if c >= 2 && n > 1 {
					s.radix(begin, begin+n, depth+1)
				}
				begin += n
			}
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

func (s *sorter) byteAt(place uint32, depth int) byte {
	return s.blocks[place>>blockBits][int(place&(1<<blockBits-1))+depth]
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

// less compares two strings that a byte below 2 ends.
func less(a, b []byte) bool {
	for i := 0; ; i++ {
		if a[i] != b[i] || a[i] < 2 {
			return a[i] < b[i]
		}
	}
}

// common is the length of the beginning that two ended strings share.
func common(a, b []byte) int {
	for i := 0; ; i++ {
		if a[i] < 2 || a[i] != b[i] {
			return i
		}
	}
}

// words is the number of 64-bit words that hold n bits.
func words(n int) int { return (n + 63) / 64 }

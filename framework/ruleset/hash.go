package ruleset

import (
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
)

// hashKey makes hashes of names from their end on. Bits 0 and 1 of a hash are
// not part of it: tables keep flags there, and a walk marks where a label
// begins.
type hashKey struct{ seed, factor uint64 }

func newHashKey() hashKey { return hashKey{rand.Uint64(), rand.Uint64() | 1} }

// What a set has of a name: the name itself, all names below it.
const (
	exact = 1
	below = 2
)

const (
	flagBits = 3
	// dotMark is what a dot adds to a hash: digits of e, and bit 0.
	dotMark = 0xb7e151628aed2a6a&^flagBits | 1
)

// root is the hash of nothing: a label begins.
func (k hashKey) root() uint64 { return k.seed&^flagBits | 1 }

// byte goes on by one byte of a label.
func (k hashKey) byte(h uint64, c byte) uint64 {
	hi, lo := bits.Mul64(h^uint64(c)<<32, k.factor)
	return (hi ^ lo) &^ flagBits
}

// dot goes on by a dot. It can be undone: the name before the dot is needed
// again for what is below it.
func (k hashKey) dot(h uint64) uint64 { return h&^flagBits ^ dotMark }

// undot is the hash before the dot that led to h.
func (k hashKey) undot(h uint64) uint64 { return h ^ dotMark }

// atStart says whether a label begins at h.
func atStart(h uint64) bool { return h&1 != 0 }

// hashes is a set of hashes with two flags each: an open table, ordered by
// hash but for collisions.
type hashes struct {
	slots []uint64
	free  int // how many more it takes before it grows
}

// newHashes makes room for n hashes. It is two thirds full then: a search
// looks at two slots, mostly in one line of memory.
func newHashes(n int) hashes {
	if n == 0 {
		return hashes{}
	}
	return hashes{make([]uint64, n+n/2+1), n}
}

// place is where the search for h begins.
func (t *hashes) place(h uint64) int {
	hi, _ := bits.Mul64(h, uint64(len(t.slots)))
	return int(hi)
}

// find is the flags of h, 0 when it is not there.
func (t *hashes) find(h uint64) byte {
	if len(t.slots) == 0 {
		return 0
	}
	h &^= flagBits
	for i := t.place(h); ; {
		s := t.slots[i]
		if s&^flagBits == h {
			return byte(s & flagBits)
		}
		if s == 0 {
			return 0
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

// add puts a hash with its flags, which are not 0, into the table.
func (t *hashes) add(h uint64) {
	if len(t.slots) == 0 {
		*t = newHashes(8)
	}
	for i := t.place(h &^ flagBits); ; {
		s := t.slots[i]
		if (s^h)&^flagBits == 0 && s != 0 {
			t.slots[i] = s | h
			return
		}
		if s == 0 {
			t.slots[i] = h
			break
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	if t.free--; t.free < 0 {
		t.grow()
	}
}

// addAll is add for many. It reads the slots of some hundred first, without a
// branch between, so that memory fetches many at a time: in a large table that
// takes a third of the time.
func (t *hashes) addAll(all []uint64) {
	for some := range slices.Chunk(all, 256) {
		var touched uint64
		for _, h := range some {
			touched |= t.slots[t.place(h)]
		}
		runtime.KeepAlive(touched)
		for _, h := range some {
			t.add(h)
		}
	}
}

// grow makes room for half as many again.
func (t *hashes) grow() {
	grown := newHashes(len(t.slots))
	for _, s := range t.slots {
		if s != 0 {
			grown.add(s)
		}
	}
	*t = grown
}

// hashList collects hashes whose number is not known. It grows in blocks, so
// that growing copies nothing.
type hashList struct {
	blocks [][]uint64
	n      int
}

// hashesPerBlock is chosen: half a megabyte.
const hashesPerBlock = 1 << 16

func (l *hashList) add(h uint64) {
	last := len(l.blocks) - 1
	switch {
	case last < 0:
		l.blocks = append(l.blocks, nil) // the first block grows: small lists are many
		last = 0
	case len(l.blocks[last]) == hashesPerBlock:
		l.blocks = append(l.blocks, make([]uint64, 0, hashesPerBlock))
		last++
	}
	l.blocks[last] = append(l.blocks[last], h)
	l.n++
}

// table makes the table of what was collected.
func (l *hashList) table() hashes {
	t := newHashes(l.n)
	for _, block := range l.blocks {
		t.addAll(block)
	}
	return t
}

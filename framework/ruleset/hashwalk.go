package ruleset

import (
	"bytes"
	"math/bits"
)

// domains makes the set of a louds whose bits are a tree and whose labels are
// lower case ASCII. It goes through the nodes in the order of their numbers,
// which reads each array once from begin to end, and keeps the hashes of the
// nodes whose edges are still to come in a queue.
func (l *louds) domains(first []int, count int) *Domains {
	wide := 0
	for d := range first[:len(first)-1] {
		wide = max(wide, first[d+1]-first[d])
	}
	w := hashWalk{key: newHashKey(), names: newHashes(max(l.keys(), 8)), found: make([]uint64, 0, 1024)}
	q := newRing(wide + wide/8)
	q.push(w.key.root())
	pos, word := 0, l.edges[0]
	for edge, c := range l.labels {
		// What is left of word begins with the ones of the nodes that end here.
		for word&1 == 1 {
			q.pop()
			if pos++; pos&63 == 0 {
				word = l.edges[pos>>6]
			} else {
				word >>= 1
			}
		}
		q.push(w.step(q.front(), c, l.leaf(edge+1)))
		if pos++; pos&63 == 0 && pos>>6 < len(l.edges) {
			word = l.edges[pos>>6]
		} else {
			word >>= 1
		}
	}
	w.flush()
	return &Domains{key: w.key, names: w.names, stems: w.stems.table(), count: count}
}

// hashWalk collects the names of a louds.
type hashWalk struct {
	key   hashKey
	names hashes
	stems hashList
	found []uint64 // waits to be put into names
}

// keys is about the number of names: "+.x" has two leaves and one place.
func (l *louds) keys() (n int) {
	for _, w := range l.leaves {
		n += bits.OnesCount64(w)
	}
	return max(n-bytes.Count(l.labels, []byte("+")), 0)
}

// step is the hash behind an edge from h; leaf says that a name ends there.
func (w *hashWalk) step(h uint64, c byte, leaf bool) uint64 {
	switch {
	case c == '.':
		return w.key.dot(h)
	case c == '+' && leaf && atStart(h):
		w.find(w.key.undot(h) | below)
		return w.key.byte(h, c)
	case c == '*' && atStart(h):
		w.stems.add(h | exact)
	}
	h = w.key.byte(h, c)
	if leaf {
		w.find(h | exact)
	}
	return h
}

func (w *hashWalk) find(h uint64) {
	if len(w.found) == cap(w.found) {
		w.flush()
	}
	w.found = append(w.found, h)
}

func (w *hashWalk) flush() {
	w.names.addAll(w.found)
	w.found = w.found[:0]
}

// ring is a queue of hashes that grows where it must.
type ring struct {
	slots      []uint64
	head, next int // next is where the next one goes; equal to head when empty
}

func newRing(size int) *ring { return &ring{slots: make([]uint64, size+2)} }

func (q *ring) front() uint64 { return q.slots[q.head] }

func (q *ring) pop() {
	if q.head++; q.head == len(q.slots) {
		q.head = 0
	}
}

func (q *ring) push(h uint64) {
	q.slots[q.next] = h
	if q.next++; q.next == len(q.slots) {
		q.next = 0
	}
	if q.next == q.head {
		q.grow()
	}
}

// grow makes a full ring longer by a quarter.
func (q *ring) grow() {
	grown := make([]uint64, len(q.slots)+len(q.slots)/4+1)
	n := copy(grown, q.slots[q.head:])
	n += copy(grown[n:], q.slots[:q.head])
	*q = ring{slots: grown, next: n}
}

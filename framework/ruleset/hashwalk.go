package ruleset

import (
	"bytes"
	"math/bits"
)

// hashWalk puts the names of a louds into a table. It goes through the nodes
// in the order of their numbers, which reads each array once from begin to
// end, and keeps the hashes of the nodes whose edges are still to come.
type hashWalk struct {
	*louds
	key   hashKey
	names hashes
	stems hashList

	found []uint64 // waits to be put into names

	queue      []uint64 // a ring
	head, size int      // of the queue; the head is of the node that is read
}

// domains makes the set of a louds whose bits are a tree and whose labels are
// lower case ASCII.
func (l *louds) domains(first []int, count int) *Domains {
	wide := 0
	for d := range first[:len(first)-1] {
		wide = max(wide, first[d+1]-first[d])
	}
	b := NewDomainsBuilder()
	w := hashWalk{louds: l, key: b.key, names: newHashes(max(l.keys(), 8)), queue: make([]uint64, wide+wide/8+1),
		found: make([]uint64, 0, 1024)}
	w.push(b.key.root())
	pos := 0
	for edge, c := range l.labels {
		for l.edges[pos/64]>>(pos%64)&1 == 1 {
			w.pop()
			pos++
		}
		pos++
		w.push(w.step(w.queue[w.head], c, l.leaf(edge+1)))
	}
	w.flush()
	return &Domains{key: b.key, names: w.names, stems: w.stems.table(), count: count}
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

func (w *hashWalk) push(h uint64) {
	if w.size == len(w.queue) {
		grown := make([]uint64, w.size+w.size/4+1)
		n := copy(grown, w.queue[w.head:])
		copy(grown[n:], w.queue[:w.head])
		w.queue, w.head = grown, 0
	}
	at := w.head + w.size
	if at >= len(w.queue) {
		at -= len(w.queue)
	}
	w.queue[at] = h
	w.size++
}

func (w *hashWalk) pop() {
	w.size--
	if w.head++; w.head == len(w.queue) {
		w.head = 0
	}
}

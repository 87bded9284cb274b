package ruleset

import (
	"bytes"
	"math/bits"
	"slices"
)

// louds is a set of names in the layout of mrs files: a tree whose nodes are
// numbered breadth-first, root 0. edges holds, node after node, a 0 for each
// edge and then a 1:
//
//	node     0      1    2     3  …
//	edges    0 0 1  0 1  0 0 1 1  …
//	labels   a b    c    d e
//
// Edge k has the byte labels[k] and leads to node k+1. Bit n of leaves says
// that a name ends at node n. A word's lowest bit is its first. Names stand
// with their end first; + as a label is all that is below.
type louds struct {
	labels []byte
	edges  []uint64
	leaves []uint64
}

// maxKey bounds what mrs files have of a name, in bytes: a name and its +.
const maxKey = 255

// levels finds the first node of each depth: depth d has the nodes from
// out[d] to before out[d+1]. It is nil when the bits are no tree, or one that
// is deeper than maxKey.
//
// The nodes of a depth begin behind as many edges as there are nodes up to
// that depth, the root left out, and end with as many ones as the depth has
// nodes. So the zeros between are the nodes of the next depth.
func (l *louds) levels() []int {
	nodes := len(l.labels) + 1
	out := []int{0, 1}
	for d := 0; ; d++ {
		from, to := out[d], out[d+1]
		pos := from + to - 1
		end := l.afterOnes(pos, to-from)
		if end < 0 || d > maxKey {
			return nil
		}
		next := to + end - pos - (to - from)
		switch {
		case next > nodes:
			return nil
		case next == to:
			if to != nodes {
				return nil
			}
			return out
		}
		out = append(out, next)
	}
}

// afterOnes is the position behind the nth one from pos on, -1 without one.
func (l *louds) afterOnes(pos, n int) int {
	at := pos / 64
	if at >= len(l.edges) {
		return -1
	}
	w := l.edges[at] >> (pos % 64) << (pos % 64)
	for c := bits.OnesCount64(w); c < n; c = bits.OnesCount64(w) {
		n -= c
		if at++; at == len(l.edges) {
			return -1
		}
		w = l.edges[at]
	}
	for ; n > 1; n-- {
		w &= w - 1
	}
	return at*64 + bits.TrailingZeros64(w) + 1
}

func (l *louds) leaf(node int) bool {
	return node/64 < len(l.leaves) && l.leaves[node/64]>>(node%64)&1 == 1
}

// zeros counts the zeros from pos on to the next one, which is there.
func (l *louds) zeros(pos int) int {
	at := pos / 64
	if w := l.edges[at] >> (pos % 64); w != 0 {
		return bits.TrailingZeros64(w)
	}
	n := 64 - pos%64
	for at++; l.edges[at] == 0; at++ {
		n += 64
	}
	return n + bits.TrailingZeros64(l.edges[at])
}

// walk calls f with each name in order, its end first; key is reused. first is
// what levels found. A walk meets the nodes of each depth in the order of their
// numbers, so that it needs no search: it keeps where it is in each depth.
func (l *louds) walk(first []int, f func(key []byte)) {
	var node, edge, left [maxKey + 2]int
	for d := range first[:len(first)-1] {
		node[d], edge[d] = first[d], first[d+1]-1
	}
	var key [maxKey + 1]byte
	left[0] = l.zeros(0)
	for d := 0; ; {
		if left[d] == 0 { // all of this node is done
			node[d]++
			if d--; d < 0 {
				return
			}
			continue
		}
		left[d]--
		key[d] = l.labels[edge[d]]
		edge[d]++
		d++
		left[d] = l.zeros(edge[d] + node[d])
		if l.leaf(node[d]) {
			f(key[:d])
		}
	}
}

// names are the entries of the set: "+.x" stands for x and its +. Other
// programs keep names of other scripts as they are, reversed by characters;
// here they get the form that hosts have.
func (l *louds) names(first []int) *names {
	out := new(names)
	l.walk(first, func(key []byte) {
		text := []rune(string(key))
		slices.Reverse(text)
		entry := []byte(string(text))
		if rest, ok := bytes.CutPrefix(entry, []byte("+.")); ok {
			entry = append([]byte("."), rest...)
		}
		_ = out.add(entry) // what has no such form matches no host
	})
	return out
}

// newLouds makes the layout of a list. Nodes are counted by depth first; then
// names in order write each depth in order.
func newLouds(l *names) *louds {
	var a arena
	l.each(func(text []byte, flags byte) {
		if flags&exact != 0 {
			a.put(text, 0)
		}
		if flags&below != 0 {
			a.put(append([]byte("+."), text...), 0)
		}
	})
	places := a.sorted()
	w := loudsWriter{}
	w.each(&a, places, func(d int, _ byte) { w.edge[d+1]++ }, func(int) {})
	for d := range maxKey + 1 {
		w.edge[d+1] += w.edge[d]
	}
	edges := w.edge[maxKey+1]
	w.labels = make([]byte, edges)
	w.edges = make([]uint64, (2*edges+1+63)/64)
	w.leaves = make([]uint64, (edges+1+63)/64)
	w.each(&a, places, w.down, w.up)
	return &w.louds
}

// loudsWriter fills a louds name by name.
type loudsWriter struct {
	louds
	edge [maxKey + 2]int // the next edge from each depth
	node [maxKey + 2]int // the node at each depth on the way to the last name
}

// each walks along names in order: down for each edge that is not part of the
// name before, and up for each node whose edges were all met, by its depth.
func (w *loudsWriter) each(a *arena, places []uint32, down func(d int, c byte), up func(d int)) {
	var last []byte
	deep := 0
	for _, p := range places {
		text := a.at(p)
		d := 0
		if last != nil {
			d = common(last, text)
		}
		for ; deep > d; deep-- {
			up(deep)
		}
		for ; text[d] >= marks; d++ {
			down(d, text[d])
		}
		if w.leaves != nil {
			w.leaves[w.node[d]/64] |= 1 << (w.node[d] % 64)
		}
		last, deep = text, d
	}
	for ; deep >= 0; deep-- {
		up(deep)
	}
}

func (w *loudsWriter) down(d int, c byte) {
	k := w.edge[d]
	w.edge[d]++
	w.labels[k] = c
	w.node[d+1] = k + 1
}

func (w *loudsWriter) up(d int) {
	at := w.edge[d] + w.node[d]
	w.edges[at/64] |= 1 << (at % 64)
}

package ruleset

import (
	"bytes"
	"math/bits"
)

// trie is a set of byte strings as a succinct tree, LOUDS: the layout of mrs
// files, and what lookups walk. Nodes are numbered breadth-first, root 0.
// edges holds, node after node, a 0 for each edge and then a 1:
//
//	node     0      1    2     3  …
//	edges    0 0 1  0 1  0 0 1 1  …
//	labels   a b    c    d e
//
// Edge k has the byte labels[k] and leads to node k+1. Bit n of leaves says
// that a string ends at node n. A word's lowest bit is its first.
type trie struct {
	labels []byte
	edges  []uint64
	leaves []uint64
	// starts is where the bits of each node stepth begin: node n is found by
	// counting ones from starts[n/step].
	starts []uint32
}

// step is the distance of samples in nodes. Measured with a million names: 64
// costs 5 % of the bits that it indexes and one or two words to count in.
const step = 64

// index samples where nodes begin. It checks that the bits are a tree, so that
// walking it can neither leave the arrays nor go round.
func (t *trie) index() bool {
	nodes := len(t.labels) + 1
	if uint64(len(t.labels)) > 1<<31 {
		return false
	}
	t.starts = make([]uint32, 1, nodes/step+1)
	node, edge := 0, 0 // the node that the bit is of, and the edges before it
	for i, w := range t.edges {
		ones := bits.OnesCount64(w)
		if edge-node < 64 && !rooted(w, edge, node, nodes) {
			return false
		}
		for next := (node/step + 1) * step; next <= node+ones && next < nodes; next += step {
			t.starts = append(t.starts, uint32(i*64+nthOne(w, next-node)+1))
		}
		if node+ones >= nodes { // what follows the last one is padding
			return edge+nthOne(w, nodes-node)-(nodes-node)+1 == len(t.labels)
		}
		node, edge = node+ones, edge+64-ones
		if edge > len(t.labels) {
			return false
		}
	}
	return false
}

// rooted says whether each node that has a bit in w has its edge before it.
func rooted(w uint64, edge, node, nodes int) bool {
	for range 64 {
		if node > edge {
			return false
		}
		if w&1 == 0 {
			edge++
		} else if node++; node == nodes {
			return true
		}
		w >>= 1
	}
	return true
}

// nthOne is the place of the nth one of w, n from 1.
func nthOne(w uint64, n int) int {
	for ; n > 1; n-- {
		w &= w - 1
	}
	return bits.TrailingZeros64(w)
}

// children are the edges of a node: n of them from edge first on.
func (t *trie) children(node int) (first, n int) {
	pos := int(t.starts[node/step])
	at, skip := pos/64, node%step
	w := t.edges[at] >> (pos % 64) << (pos % 64)
	for c := bits.OnesCount64(w); skip > c; c = bits.OnesCount64(w) {
		skip -= c
		at++
		w = t.edges[at]
	}
	if skip > 0 {
		pos = at*64 + nthOne(w, skip) + 1
	}
	return pos - node, t.zeros(pos)
}

// zeros counts the zeros from pos on to the next one.
func (t *trie) zeros(pos int) int {
	at := pos / 64
	w := t.edges[at] >> (pos % 64)
	if w != 0 {
		return bits.TrailingZeros64(w)
	}
	n := 64 - pos%64
	for at++; t.edges[at] == 0; at++ {
		n += 64
	}
	return n + bits.TrailingZeros64(t.edges[at])
}

// find is the child by c among n edges from first on, 0 for none.
func (t *trie) find(first, n int, c byte) int {
	labels := t.labels[first : first+n]
	if n > 8 {
		if i := bytes.IndexByte(labels, c); i >= 0 {
			return first + i + 1
		}
		return 0
	}
	for i, l := range labels {
		if l == c {
			return first + i + 1
		}
	}
	return 0
}

// child is the node behind the edge c of node, 0 for none.
func (t *trie) child(node int, c byte) int {
	first, n := t.children(node)
	return t.find(first, n, c)
}

// leaf says whether a string ends at node.
func (t *trie) leaf(node int) bool {
	return node/64 < len(t.leaves) && t.leaves[node/64]>>(node%64)&1 == 1
}

// path is the string that leads to node, read from the node to the root. It is
// for reports: it searches for each parent.
func (t *trie) path(node int) []byte {
	var out []byte
	for ; node > 0; node = t.parent(node) {
		out = append(out, t.labels[node-1])
	}
	return out
}

// parent is the node above: the last whose edges begin at or before the edge
// to node.
func (t *trie) parent(node int) int {
	edge := node - 1
	lo, hi := 0, max(node, 1)
	for lo+1 < hi {
		mid := (lo + hi) / 2
		if first, _ := t.children(mid); first <= edge {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// walk calls f with each string in the order of the tree, and the nodes on the
// way to its end, the root first. Both are reused. It stops when f says false.
// What is longer than maxKey is left out.
func (t *trie) walk(f func(nodes []int, key []byte) bool) {
	t.descend(append(make([]int, 0, maxKey+1), 0), make([]byte, 0, maxKey), f)
}

// maxKey bounds a string in a trie: a host name of 253 bytes and its marks.
const maxKey = 256

func (t *trie) descend(nodes []int, key []byte, f func([]int, []byte) bool) bool {
	node := nodes[len(nodes)-1]
	if t.leaf(node) && !f(nodes, key) {
		return false
	}
	if len(key) == maxKey {
		return true
	}
	first, n := t.children(node)
	for k := first; k < first+n; k++ {
		if !t.descend(append(nodes, k+1), append(key, t.labels[k]), f) {
			return false
		}
	}
	return true
}

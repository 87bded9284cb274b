package ruleset

// How a string in the arena ends: markBoth for "+.x", which is in the trie as
// x.+ and as x; markOne for all others.
const (
	markOne  = 0
	markBoth = 1
)

// buildTrie makes the trie of the strings in a. Each string is read twice, in
// order: once to count how many nodes are at each depth, once to write each
// node where breadth-first order has it.
func buildTrie(a *arena) *trie {
	places := a.sorted()
	shared := make([]uint8, len(places)) // bytes in common with the string before
	var level [maxKey + 2]int            // at d+1: edges from depth d
	var last []byte
	for i, p := range places {
		text := a.at(p)
		from := 0
		if last != nil {
			from = common(last, text)
		}
		shared[i] = uint8(from)
		d := from
		for ; text[d] >= 2; d++ {
			level[d+1]++
		}
		last = text
	}
	for d := range maxKey + 1 {
		level[d+1] += level[d]
	}
	w := writer{edge: level}
	edges := level[maxKey+1]
	w.labels = make([]byte, edges)
	w.edges = make([]uint64, words(2*edges+1))
	w.leaves = make([]uint64, words(edges+1))
	for i, p := range places {
		w.add(int(shared[i]), a.at(p))
	}
	w.close(0)
	w.close(-1)
	if !w.index() {
		panic("ruleset: the trie is no tree")
	}
	return &w.trie
}

// writer fills a trie string by string.
type writer struct {
	trie
	edge [maxKey + 2]int // the next edge from each depth
	node [maxKey + 2]int // the node at each depth on the way to the last string
	deep int             // the depth of the last string
}

// add writes the nodes of a string behind the first shared bytes.
func (w *writer) add(shared int, text []byte) {
	w.close(shared)
	d := shared
	for ; text[d] >= 2; d++ {
		k := w.edge[d]
		w.edge[d]++
		w.labels[k] = text[d]
		w.node[d+1] = k + 1
	}
	w.deep = d
	w.setLeaf(w.node[d])
	if text[d] == markBoth {
		w.setLeaf(w.node[d-2])
	}
}

func (w *writer) setLeaf(node int) { w.leaves[node/64] |= 1 << (node % 64) }

// close ends the nodes below depth: their last edge is written.
func (w *writer) close(depth int) {
	for d := w.deep; d > depth; d-- {
		at := w.edge[d] + w.node[d]
		w.edges[at/64] |= 1 << (at % 64)
	}
	w.deep = min(w.deep, depth)
}

package conf

import "slices"

// NodeReader is a value that reads its node itself: the configuration of a type
// whose keys are known at run time only. ReadNode gets what Decode got, and
// returns all problems at their places.
type NodeReader interface {
	ReadNode(n Node, m Mode, foreign []string) Problems
}

// Find is the value at a path as a FieldError has it: ws-opts.headers.Host,
// users[0].password. Where there is none, it is absent and has the place of
// the nearest map above. Keys are spelled as m allows.
func (n Node) Find(path string, m Mode) Node { return n.find(path, m) }

// Fields gives each key of the map n to its owner: read is called with the
// value of every name that n has, in the order of names. What nobody owns, and
// what is spelled loosely, is in the warnings. A key that stands in names and
// in foreign is read.
func (n Node) Fields(m Mode, names, foreign []string, read func(name string, v Node)) Problems {
	d := decoder{mode: m, types: &fieldCache{}}
	used := make([]bool, n.Len())
	for _, name := range names {
		got, i := d.find(n, name)
		if i < 0 {
			continue
		}
		used[i] = true
		d.spelling(n, i, name)
		read(name, got)
	}
	d.unknown(n, used, slices.Concat(names, foreign))
	return d.problems
}

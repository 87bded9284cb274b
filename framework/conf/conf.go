// Package conf reads the user's YAML and puts it into typed values. It is the
// only door to the YAML library and the only user of reflection: Parse keeps
// the line and column of each value, Decode fills structs that hold their
// defaults, Schema describes such structs to an editor. Every mistake is a
// Problem with its place; all of them are returned at once. It knows nothing
// of what the keys mean: that is the business of configs and of the plugins.
package conf

// Kind is the shape of a value.
type Kind uint8

// The shapes. Absent is the kind of the zero Node.
const (
	Absent Kind = iota
	Null
	Scalar
	List
	Map
)

// String is the shape in the words of a message: "a list".
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Scalar:
		return "a single value"
	case List:
		return "a list"
	case Map:
		return "a map"
	}
	return "nothing"
}

// Mode is how much spelling a decoder forgives.
type Mode uint8

// The modes. Strict is for the top-level sections: keys are exact and a number
// is a number. Loose is for the weak maps (entries of proxies and listeners):
// case and _ for - in keys do not matter, a quoted number is a number.
// LooseCase is Loose without _ for -, for entries of proxy-groups and of the
// providers.
const (
	Strict Mode = iota
	Loose
	LooseCase
)

// Entry is one key of a map. KeyNode has the place of the key.
type Entry struct {
	Key     string
	KeyNode Node
	Value   Node
}

// tag is what a scalar is by its spelling.
type tag uint8

const (
	tagString tag = iota // quoted, or plain text that is nothing else
	tagInt
	tagFloat
	tagBool
	tagNull
)

// value is one node of a tree. It is not written after the tree was built; a
// change copies the path to it. Values are shared between aliases, so what
// depends on the way to a value (path, place of use) is in Node.
type value struct {
	kind    Kind
	tag     tag
	plain   bool   // a scalar without quotes
	anchor  bool   // has an anchor: a helper for aliases
	text    string // a scalar as written
	origin  string // "flag -secret"; empty for what stands in the file
	alias   *value // what an alias stands for; the other fields are the target's
	items   []*value
	entries []entry
	line    int32
	column  int32
	size    int64 // nodes in the subtree with aliases expanded
}

// entry is one key of a map; via is the merge that brought it, nil without.
type entry struct {
	key, val *value
	via      *value
}

// Tree is one parsed document. It is safe for concurrent reading; Set makes
// it not so.
type Tree struct {
	name  string
	root  *value
	types fieldCache
}

// Name is the name of the document, as problems spell it.
func (t *Tree) Name() string { return t.name }

// Root is the document's value. It exists in an empty document too, as null.
func (t *Tree) Root() Node { return Node{t: t, v: t.root, near: t.root} }

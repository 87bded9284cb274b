package conf

import (
	"strconv"
	"strings"
)

// Node is a value of a tree together with the way to it. It is small and
// copied freely. The zero Node is absent; the Node of a key that a map does
// not have is absent too, and remembers its path and the place of the map.
type Node struct {
	t    *Tree
	v    *value // nil when absent
	near *value // whose place is reported: v, or the alias or merge that used v
	path *step
}

// step is one element of a path: a key, or an index of a list.
type step struct {
	up    *step
	key   string
	index int // -1 for a key
	v     *value
}

// Exists says whether the value stands in the document, even as null.
func (n Node) Exists() bool { return n.v != nil }

// Kind is the shape of the value.
func (n Node) Kind() Kind {
	if n.v == nil {
		return Absent
	}
	return n.v.kind
}

// child is the value c of the map or list n.
func (n Node) child(c *value, key string, index int) Node {
	out := Node{t: n.t, v: c, near: c}
	if c != nil && c.alias != nil {
		out.v = c.alias
	}
	if n.near != n.v || c == nil {
		out.near = n.near
	}
	out.path = &step{up: n.path, key: key, index: index, v: out.v}
	return out
}

func (n Node) entry(e entry) Node {
	out := n.child(e.val, e.key.text, -1)
	if e.via != nil && n.near == n.v {
		out.near = e.via
	}
	return out
}

// Get is the value of a key of a map, spelled exactly so. It is absent when
// there is no such key and when n is no map.
func (n Node) Get(key string) Node {
	if n.Kind() == Map {
		for _, e := range n.v.entries {
			if e.key.text == key {
				return n.entry(e)
			}
		}
	}
	return n.child(nil, key, -1)
}

// GetLoose is Get; when there is no such key, one that differs in case only or
// has _ for - is taken.
func (n Node) GetLoose(key string) Node {
	if got := n.Get(key); got.Exists() || n.Kind() != Map {
		return got
	}
	for _, e := range n.v.entries {
		if sameKey(e.key.text, key, Loose) {
			return n.entry(e)
		}
	}
	return n.child(nil, key, -1)
}

// At is the element i of a list, absent outside it.
func (n Node) At(i int) Node {
	if n.Kind() == List && i >= 0 && i < len(n.v.items) {
		return n.child(n.v.items[i], "", i)
	}
	return n.child(nil, "", max(i, 0))
}

// Items is the elements of a list in file order, nil for any other shape.
func (n Node) Items() []Node {
	if n.Kind() != List {
		return nil
	}
	out := make([]Node, len(n.v.items))
	for i, c := range n.v.items {
		out[i] = n.child(c, "", i)
	}
	return out
}

// Entries is the keys of a map in file order, nil for any other shape. Keys
// that a merge brings stand where the merge stands.
func (n Node) Entries() []Entry {
	if n.Kind() != Map {
		return nil
	}
	out := make([]Entry, len(n.v.entries))
	for i, e := range n.v.entries {
		out[i] = Entry{Key: e.key.text, KeyNode: n.keyNode(e), Value: n.entry(e)}
	}
	return out
}

// keyNode is the key itself; its path is that of the value.
func (n Node) keyNode(e entry) Node {
	out := n.entry(e)
	if out.near == e.val {
		out.near = e.key
	}
	out.v = e.key
	return out
}

// Len is the number of elements or keys.
func (n Node) Len() int {
	if n.v == nil {
		return 0
	}
	return len(n.v.items) + len(n.v.entries)
}

// Text is a scalar as the file spells it, without quotes: 0755 stays 0755. ok
// is false for other shapes and for null.
func (n Node) Text() (text string, ok bool) {
	if n.Kind() != Scalar {
		return "", false
	}
	return n.v.text, true
}

// IsString says whether n is a scalar that YAML takes for a string: quoted, or
// not spelled like a number, a boolean or null.
func (n Node) IsString() bool { return n.Kind() == Scalar && n.v.tag == tagString }

// IsInt says whether n is a scalar that YAML takes for an integer.
func (n Node) IsInt() bool { return n.Kind() == Scalar && n.v.tag == tagInt }

// Place is where the value stands; for a value that an alias or a merge brings,
// where it is used; for an absent one, where its map stands.
func (n Node) Place() Place {
	if n.t == nil || n.near == nil {
		return Place{}
	}
	if n.near.origin != "" {
		return Place{Origin: n.near.origin}
	}
	return Place{File: n.t.name, Line: int(n.near.line), Column: int(n.near.column)}
}

// Path is the way from the root as the user would write it:
// proxies[3].ws-opts.path. A key that holds a dot is in quotes.
func (n Node) Path() string {
	var b strings.Builder
	writePath(&b, n.path, nil)
	return b.String()
}

// writePath writes the steps from below stop down to s.
func writePath(b *strings.Builder, s, stop *step) {
	if s == nil || s == stop {
		return
	}
	writePath(b, s.up, stop)
	if s.index >= 0 {
		b.WriteString("[" + strconv.Itoa(s.index) + "]")
		return
	}
	if s.up != stop {
		b.WriteByte('.')
	}
	b.WriteString(quoteKey(s.key))
}

func quoteKey(key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" \t\r\n:") {
		return strconv.Quote(key)
	}
	return key
}

// subject is the path with the name and type of the entry that n is in:
// `proxies[3] "tokyo" (trojan): ws-opts.path`. An entry is an element of a
// top-level list or of a top-level map of maps.
func (n Node) subject() string {
	var second *step
	for s := n.path; s != nil; s = s.up {
		if s.up != nil && s.up.up == nil {
			second = s
		}
	}
	label := label(second)
	if label == "" {
		return n.Path()
	}
	var b strings.Builder
	writePath(&b, second, nil)
	b.WriteString(label)
	if n.path != second {
		b.WriteString(": ")
		writePath(&b, n.path, second)
	}
	return b.String()
}

// label is what an entry calls itself, with a leading space.
func label(s *step) string {
	if s == nil || s.v == nil || s.v.kind != Map {
		return ""
	}
	var name, typ string
	for _, e := range s.v.entries {
		v := e.val
		if v.alias != nil {
			v = v.alias
		}
		if v.kind != Scalar {
			continue
		}
		switch e.key.text {
		case "name":
			name = " " + strconv.Quote(v.text)
		case "type":
			typ = " (" + v.text + ")"
		}
	}
	return name + typ
}

// sameKey says whether two spellings of a key are one in mode m.
func sameKey(a, b string, m Mode) bool {
	if m == Strict || len(a) != len(b) {
		return a == b
	}
	if m == Loose {
		a, b = strings.ReplaceAll(a, "_", "-"), strings.ReplaceAll(b, "_", "-")
	}
	return strings.EqualFold(a, b)
}

// find is the value at a path as a FieldError has it: ws-opts.headers.Host,
// users[0].password. A key that holds dots is found by trying the longest.
func (n Node) find(path string, m Mode) Node {
	for path != "" {
		if rest, ok := strings.CutPrefix(path, "."); ok {
			path = rest
			continue
		}
		if i, rest, ok := cutIndex(path); ok {
			n, path = n.At(i), rest
			continue
		}
		n, path = n.cutKey(path, m)
	}
	return n
}

// cutIndex takes [3] off the front of a path.
func cutIndex(path string) (i int, rest string, ok bool) {
	end := strings.IndexByte(path, ']')
	if path[0] != '[' || end < 0 {
		return 0, path, false
	}
	i, err := strconv.Atoi(path[1:end])
	return i, path[end+1:], err == nil
}

// cutKey takes a key off the front of a path: the longest that the map has,
// else all up to the next dot or index.
func (n Node) cutKey(path string, m Mode) (Node, string) {
	best := -1
	var at entry
	if n.Kind() == Map {
		for _, e := range n.v.entries {
			k := len(e.key.text)
			ends := k == len(path) || k < len(path) && (path[k] == '.' || path[k] == '[')
			if ends && k > best && sameKey(e.key.text, path[:k], m) {
				best, at = k, e
			}
		}
	}
	if best > 0 {
		return n.entry(at), path[best:]
	}
	end := strings.IndexAny(path[1:], ".[") + 1
	if end <= 0 {
		end = len(path)
	}
	return n.child(nil, path[:end], -1), path[end:]
}

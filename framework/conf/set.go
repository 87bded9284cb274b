package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Set puts a value over what the document has at path and makes the maps on
// the way; origin, such as "flag -secret", is its place from then on. value is
// a string, bool, number, []any or map[string]any. A string counts as written
// without quotes; where a list or a map is wanted, it is read as YAML when it
// begins with [ or {, and else as a list with commas. A value that is no map
// on the way stays: it is a mistake that decoding reports.
//
// Nodes of before the call keep what they saw.
func (t *Tree) Set(path []string, value any, origin string) {
	t.root = put(t.root, path, outside(value, origin), origin)
}

func put(v *value, path []string, leaf *value, origin string) *value {
	if len(path) == 0 {
		return leaf
	}
	out := value{kind: Map, origin: origin, size: 1}
	if v != nil && v.kind != Null {
		out = *v
		out.alias = nil
	}
	if out.kind != Map {
		return v
	}
	out.entries = slices.Clone(out.entries)
	for i, e := range out.entries {
		if e.key.text == path[0] {
			out.entries[i].val = put(resolved(e.val), path[1:], leaf, origin)
			return &out
		}
	}
	key := &value{kind: Scalar, text: path[0], origin: origin, size: 1}
	out.entries = append(out.entries, entry{key: key, val: put(nil, path[1:], leaf, origin)})
	return &out
}

func resolved(v *value) *value {
	if v.alias != nil {
		return v.alias
	}
	return v
}

// outside makes a value of what did not come from the document.
func outside(from any, origin string) *value {
	v := &value{origin: origin, size: 1}
	switch x := from.(type) {
	case nil:
		v.kind, v.tag = Null, tagNull
	case []any:
		v.kind = List
		for _, c := range x {
			v.items = append(v.items, outside(c, origin))
		}
	case map[string]any:
		v.kind = Map
		for _, k := range slices.Sorted(maps.Keys(x)) {
			key := &value{kind: Scalar, text: k, origin: origin, size: 1}
			v.entries = append(v.entries, entry{key: key, val: outside(x[k], origin)})
		}
	default:
		scalar(&yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(x)}, v)
		v.kind = Scalar
	}
	return v
}

// opened is n, or the list or map that the text of a variable or flag spells.
func (n Node) opened() Node {
	if n.Kind() != Scalar || n.v.origin == "" {
		return n
	}
	text := strings.TrimSpace(n.v.text)
	var in any
	if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
		t, err := Parse(n.v.origin, []byte(text))
		if err != nil {
			return n
		}
		in = spelled(t.root)
	} else {
		in = splitList(text)
	}
	v := outside(in, n.v.origin)
	n.v, n.near = v, v
	return n
}

func splitList(text string) []any {
	if text == "" {
		return nil
	}
	var out []any
	for part := range strings.SplitSeq(text, ",") {
		out = append(out, strings.TrimSpace(part))
	}
	return out
}

// spelled is v with scalars as written.
func spelled(v *value) any {
	switch v.kind {
	case Scalar:
		return v.text
	case List:
		out := make([]any, len(v.items))
		for i, c := range v.items {
			out[i] = spelled(c)
		}
		return out
	case Map:
		out := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			out[e.key.text] = spelled(e.val)
		}
		return out
	}
	return nil
}

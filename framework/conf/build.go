package conf

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// builder turns the library's nodes into values: aliases and merges are
// resolved, duplicate keys found, the size bounded.
type builder struct {
	t        *Tree
	done     map[*yaml.Node]*value // anchored nodes; nil while being built
	own      int64                 // values that are written
	merged   int64                 // keys that merges brought
	full     bool                  // the bound is passed: nothing more is built
	problems Problems
}

func (b *builder) errorf(n *yaml.Node, format string, a ...any) {
	b.problems = append(b.problems, Problem{
		Place: Place{File: b.t.name, Line: n.Line, Column: n.Column},
		Msg:   fmt.Sprintf(format, a...),
	})
}

// build is the value of n. After an error it is null, so that the walk goes on
// and finds the other mistakes.
func (b *builder) build(n *yaml.Node, depth int) *value {
	v := &value{kind: Null, tag: tagNull, line: int32(n.Line), column: int32(n.Column), size: 1}
	if b.full {
		return v
	}
	if depth > maxDepth {
		b.errorf(n, "more than %d levels deep", maxDepth)
		return v
	}
	if n.Anchor != "" {
		b.done[n] = nil
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) > 0 {
			return b.build(n.Content[0], depth)
		}
	case yaml.AliasNode:
		b.alias(n, v)
	case yaml.ScalarNode:
		scalar(n, v)
	case yaml.SequenceNode:
		v.kind = List
		v.items = make([]*value, 0, len(n.Content))
		for _, c := range n.Content {
			item := b.build(c, depth+1)
			v.items = append(v.items, item)
			v.size += item.size
		}
	case yaml.MappingNode:
		v.kind = Map
		b.mapping(n, v, depth)
	}
	if n.Anchor != "" {
		v.anchor = true
		b.done[n] = v
	}
	b.bound(n, v)
	return v
}

// bound refuses a document whose aliases unfold into too much.
func (b *builder) bound(n *yaml.Node, v *value) {
	b.own++
	if !b.full && (v.size > b.limit() || b.merged > b.limit()) {
		b.full = true
		b.errorf(n, "document has more than %d values with its aliases unfolded", b.limit())
	}
}

// limit is how many values there may be after what was built so far.
func (b *builder) limit() int64 { return min(maxNodes, freeNodes+unfoldNodes*b.own) }

func (b *builder) alias(n *yaml.Node, v *value) {
	target := b.done[n.Alias]
	if target == nil {
		b.errorf(n, "alias *%s stands inside its own anchor", n.Value)
		return
	}
	line, column := v.line, v.column
	if target.alias != nil {
		target = target.alias
	}
	*v = *target
	v.alias, v.line, v.column = target, line, column
}

func scalar(n *yaml.Node, v *value) {
	v.kind, v.text = Scalar, n.Value
	v.plain = n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch n.ShortTag() {
	case "!!null":
		v.kind, v.tag = Null, tagNull
	case "!!int":
		v.tag = tagInt
	case "!!float":
		v.tag = tagFloat
	case "!!bool":
		v.tag = tagBool
	default:
		v.tag = tagString
	}
}

// mapping fills v with the keys of n. Explicit keys beat merged ones, the
// first of several merged maps beats the later.
func (b *builder) mapping(n *yaml.Node, v *value, depth int) {
	at := make(map[string]*value, len(n.Content)/2)
	merges := 0
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := b.build(n.Content[i], depth+1)
		val := b.build(n.Content[i+1], depth+1)
		isMerge := n.Content[i].ShortTag() == "!!merge"
		switch {
		case key.kind != Scalar && key.kind != Null:
			b.errorf(n.Content[i], "a key is %s, want text", key.kind)
			continue
		case isMerge:
			merges++
			if merges > 1 {
				b.errorf(n.Content[i], "key \"<<\" stands twice in one map; write one list of aliases")
				continue
			}
			v.entries = append(v.entries, entry{key: key, val: val, via: key})
			continue
		}
		if key.kind == Null {
			key.text = n.Content[i].Value
		}
		if first := at[key.text]; first != nil {
			b.errorf(n.Content[i], "key %q stands twice in one map, first at line %d", key.text, first.line)
			continue
		}
		at[key.text] = key
		v.entries = append(v.entries, entry{key: key, val: val})
		v.size += 1 + val.size
	}
	if merges > 0 {
		b.merge(n, v, at)
	}
}

// merge puts the entries of merged maps in the place of the << entry.
func (b *builder) merge(n *yaml.Node, v *value, have map[string]*value) {
	out := make([]entry, 0, len(v.entries))
	for _, e := range v.entries {
		if e.via == nil {
			out = append(out, e)
			continue
		}
		for _, m := range b.mergeSources(n, e) {
			for _, in := range m.entries {
				if b.merged > b.limit() || have[in.key.text] != nil {
					continue
				}
				have[in.key.text] = in.key
				out = append(out, entry{key: in.key, val: in.val, via: e.val})
				v.size += 1 + in.val.size
				b.merged++
			}
		}
	}
	v.entries = out
}

func (b *builder) mergeSources(n *yaml.Node, e entry) []*value {
	switch e.val.kind {
	case Map:
		return []*value{e.val}
	case List:
		for _, m := range e.val.items {
			if m.kind != Map {
				b.mergeError(n, m)
				return nil
			}
		}
		return e.val.items
	}
	b.mergeError(n, e.val)
	return nil
}

func (b *builder) mergeError(n *yaml.Node, v *value) {
	at := *n
	at.Line, at.Column = int(v.line), int(v.column)
	b.errorf(&at, "<< wants a map or a list of maps, got %s", v.kind)
}

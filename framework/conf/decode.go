package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// maxProblems bounds the errors, and the warnings, of one Decode. Chosen: more
// than anybody reads.
const maxProblems = 1000

// Decode fills the struct that into points to and runs its Validate; a
// NodeReader reads n itself. A key
// that the document does not have keeps the value that into holds. Keys that
// neither into nor foreign know are warnings. All problems are returned,
// sorted; without an error among them into is complete.
func (n Node) Decode(into any, m Mode, foreign ...string) Problems {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("conf: Decode into %T, want a pointer", into))
	}
	if r, ok := into.(NodeReader); ok {
		p := r.ReadNode(n.opened(), m, foreign)
		p.Sort()
		return p
	}
	d := &decoder{mode: m, types: &fieldCache{}}
	if n.t != nil {
		d.types = &n.t.types
	}
	d.top(n, v.Elem(), foreign)
	if val, ok := into.(framework.Validator); ok {
		d.invalid(n, val.Validate())
	}
	d.problems.Sort()
	return d.problems
}

type decoder struct {
	mode     Mode
	types    *fieldCache
	problems Problems
	count    [2]int // by severity
}

func (d *decoder) add(p Problem) {
	if d.count[p.Severity] < maxProblems {
		d.count[p.Severity]++
		d.problems = append(d.problems, p)
	}
}

// top decodes the value that Decode was called for.
func (d *decoder) top(n Node, v reflect.Value, foreign []string) {
	if v.Kind() == reflect.Struct && !special(v) {
		d.structure(n, v, true, foreign)
		return
	}
	d.value(n, v, limits{})
}

// special says whether a struct is not made of keys.
func special(v reflect.Value) bool {
	switch v.Interface().(type) {
	case Node, framework.RuleArgs:
		return true
	}
	return isText(v)
}

// structure fills a struct from a map. top is for the struct that Decode was
// called for: in the loose modes only its required keys are required.
func (d *decoder) structure(n Node, v reflect.Value, top bool, foreign []string) {
	n = n.opened()
	switch n.Kind() {
	case Absent, Null, Map:
	default:
		d.add(n.Errorf("want a map, got %s", n.Kind()))
		return
	}
	fields := d.types.of(v.Type())
	used := make([]bool, n.Len())
	for _, f := range fields {
		got, i := d.find(n, f.name)
		if i >= 0 {
			used[i] = true
			d.spelling(n, i, f.name)
		}
		if f.required && (top || d.mode == Strict) && d.missing(got) {
			p := n.Errorf("key %q is missing", f.name)
			if p.Path != "" {
				p.Path = n.child(nil, f.name, -1).Path()
			}
			d.add(p)
			continue
		}
		if got.Exists() {
			d.value(got, v.FieldByIndex(f.index), f.limits())
		}
	}
	d.unknown(n, used, append(names(fields), foreign...))
}

// missing says whether a required key has no value: null is none.
func (d *decoder) missing(n Node) bool { return n.Kind() == Absent || n.Kind() == Null }

// find is the value of a key and the number of its entry, -1 without one.
func (d *decoder) find(n Node, name string) (Node, int) {
	if n.Kind() != Map {
		return Node{}, -1
	}
	for i, e := range n.v.entries {
		if e.key.text == name {
			return n.entry(e), i
		}
	}
	if d.mode != Strict {
		for i, e := range n.v.entries {
			if sameKey(e.key.text, name, d.mode) {
				return n.entry(e), i
			}
		}
	}
	return Node{}, -1
}

// spelling warns of a key that is not written as it should be.
func (d *decoder) spelling(n Node, i int, name string) {
	if e := n.v.entries[i]; e.key.text != name {
		d.add(n.keyNode(e).Warnf("loose spelling; write %q", name))
	}
}

// unknown warns of the keys that nobody reads. A value with an anchor is there
// for its aliases, and x- is a common mark for that.
func (d *decoder) unknown(n Node, used []bool, known []string) {
	for i, u := range used {
		e := n.v.entries[i]
		key := e.key.text
		if u || d.isKnown(key, known) || e.val.anchor || strings.HasPrefix(key, "x-") {
			continue
		}
		d.add(n.keyNode(e).Warnf("unknown key%s", suggest(key, known)))
	}
}

func (d *decoder) isKnown(key string, known []string) bool {
	for _, k := range known {
		if sameKey(key, k, d.mode) {
			return true
		}
	}
	return false
}

// value fills v from n, which exists.
func (d *decoder) value(n Node, v reflect.Value, l limits) {
	switch p := v.Addr().Interface().(type) {
	case *Node:
		*p = n.opened()
		return
	case *json.RawMessage:
		d.raw(n, p)
		return
	case *framework.RuleArgs:
		d.ruleArgs(n, p)
		return
	}
	if n.Kind() == Null {
		d.null(v)
		return
	}
	if isText(v) {
		d.text(n, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		d.pointer(n, v, l)
	case reflect.Struct:
		d.structure(n, v, false, nil)
	case reflect.Slice:
		d.list(n, v, l)
	case reflect.Map:
		d.mapping(n, v, l)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			panic("conf: cannot decode into " + v.Type().String())
		}
		if plain := n.Plain(); plain != nil {
			v.Set(reflect.ValueOf(plain))
		}
	default:
		d.scalar(n, v, l)
	}
}

// null is for a key without a value. In the loose modes it is as if the key
// were absent; strictly, it empties a list, a map and a pointer.
func (d *decoder) null(v reflect.Value) {
	if d.mode != Strict {
		return
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		v.SetZero()
	}
}

// pointer decodes into a copy of what v points to, so that defaults that
// several values share stay as they are.
func (d *decoder) pointer(n Node, v reflect.Value, l limits) {
	to := reflect.New(v.Type().Elem())
	if !v.IsNil() {
		to.Elem().Set(v.Elem())
	}
	d.value(n, to.Elem(), l)
	v.Set(to)
}

// list replaces v by the elements of n.
func (d *decoder) list(n Node, v reflect.Value, l limits) {
	n = n.opened()
	if n.Kind() != List {
		d.add(n.Errorf("want a list, got %s", n.Kind()))
		return
	}
	elem := v.Type().Elem()
	out := reflect.MakeSlice(v.Type(), 0, n.Len())
	for _, item := range n.Items() {
		if item.Kind() == Null && d.mode == Strict && dropsNull(elem) {
			continue
		}
		e := reflect.New(elem).Elem()
		d.value(item, e, l)
		out = reflect.Append(out, e)
	}
	v.Set(out)
}

// dropsNull says whether a null element of a strict list vanishes.
func dropsNull(elem reflect.Type) bool {
	switch elem.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return false
	}
	return elem != reflect.TypeFor[Node]()
}

// mapping replaces v by the entries of n.
func (d *decoder) mapping(n Node, v reflect.Value, l limits) {
	n = n.opened()
	if n.Kind() != Map {
		d.add(n.Errorf("want a map, got %s", n.Kind()))
		return
	}
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		panic("conf: cannot decode into " + t.String() + ": keys are text")
	}
	out := reflect.MakeMapWithSize(t, n.Len())
	for _, e := range n.Entries() {
		if e.Value.Kind() == Null && d.mode != Strict {
			d.add(e.Value.Errorf("has no value"))
			continue
		}
		val := reflect.New(t.Elem()).Elem()
		d.value(e.Value, val, l)
		out.SetMapIndex(reflect.ValueOf(e.Key).Convert(t.Key()), val)
	}
	v.Set(out)
}

func (d *decoder) raw(n Node, to *json.RawMessage) {
	text, err := n.JSON()
	if err != nil {
		d.add(n.Errorf("%v", err))
		return
	}
	*to = text
}

// ruleArgs takes a payload, or a list of the payload and its parameters.
func (d *decoder) ruleArgs(n Node, to *framework.RuleArgs) {
	if text, ok := n.Text(); ok {
		*to = framework.RuleArgs{Payload: text}
		return
	}
	var all []string
	before := d.count[Error]
	d.list(n, reflect.ValueOf(&all).Elem(), limits{})
	if d.count[Error] > before || len(all) == 0 {
		return
	}
	*to = framework.RuleArgs{Payload: all[0], Params: all[1:]}
}

// invalid places what Validate returned. A mistake at a path that has an error
// already, or below one, is a consequence and left out.
func (d *decoder) invalid(n Node, err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			d.invalid(n, one)
		}
		return
	}
	var fe *framework.FieldError
	if !errors.As(err, &fe) {
		d.add(n.Errorf("%v", err))
		return
	}
	at := n.find(fe.Path, d.mode)
	if !d.hasError(at.Path()) {
		d.add(at.Errorf("%s", fe.Msg))
	}
}

func (d *decoder) hasError(path string) bool {
	for _, p := range d.problems {
		below := strings.HasPrefix(path, p.Path) && (len(path) == len(p.Path) || strings.IndexByte(".[", path[len(p.Path)]) >= 0)
		if p.Severity == Error && p.Path != "" && below {
			return true
		}
	}
	return false
}

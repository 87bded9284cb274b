package conf

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/culvert-proxy/culvert/framework"
)

// field is one key of a struct, with what its tags say.
type field struct {
	name     string
	index    []int // for reflect's FieldByIndex, through inlined structs
	typ      reflect.Type
	doc      string
	enum     []string
	fold     bool // the enum's case does not matter
	required bool
	min, max *int64
}

// limits is the part of a field that its value is held against.
type limits struct {
	enum     []string
	fold     bool
	min, max *int64
}

func (f field) limits() limits { return limits{f.enum, f.fold, f.min, f.max} }

// fieldCache keeps the fields of the types that a tree was decoded into: a
// document has thousands of entries and a handful of types.
type fieldCache struct {
	mu     sync.Mutex // guards byType
	byType map[reflect.Type][]field
}

func (c *fieldCache) of(t reflect.Type) []field {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.byType[t]; ok {
		return f
	}
	if c.byType == nil {
		c.byType = map[reflect.Type][]field{}
	}
	f := fieldsOf(t)
	c.byType[t] = f
	return f
}

// fieldsOf reads the tags of the struct t. A field without a yaml tag is no
// key; one with ",inline" lends its keys to t.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, opts, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case opts == "inline":
			for _, in := range fieldsOf(sf.Type) {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
			continue
		case name == "" || name == "-" || !sf.IsExported():
			continue
		}
		f := field{
			name: name, index: []int{i}, typ: sf.Type, doc: sf.Tag.Get("doc"),
			fold: sf.Tag.Get("fold") == "true", required: sf.Tag.Get("required") == "true",
			min: bound(sf, "min"), max: bound(sf, "max"),
		}
		if e, ok := sf.Tag.Lookup("enum"); ok {
			f.enum = strings.Split(e, ",")
		}
		out = append(out, f)
	}
	return out
}

// bound is the number in a tag, nil without one. It panics when the tag holds
// none: that is a mistake of the program.
func bound(sf reflect.StructField, key string) *int64 {
	s, ok := sf.Tag.Lookup(key)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("conf: field " + sf.Name + ": tag " + key + ": " + err.Error())
	}
	return &n
}

func names(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

// Keys is the names of the keys of the struct that v holds or points to, in
// order: what one decoder owns and tells another as foreign.
func Keys(v any) []string {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return names(fieldsOf(t))
}

// Values is the struct that v holds or points to as nested maps by key: the
// defaults of a layered configuration. A list of text is []any, a Node is its
// plain value or nil, a Secret is always empty.
func Values(v any) map[string]any {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	}
	out := map[string]any{}
	for _, f := range fieldsOf(rv.Type()) {
		out[f.name] = plainOf(addressable(rv.FieldByIndex(f.index)))
	}
	return out
}

func plainOf(v reflect.Value) any {
	switch x := v.Addr().Interface().(type) {
	case *Node:
		return x.Plain()
	case *json.RawMessage:
		return *x
	case *framework.Secret:
		return ""
	case encoding.TextUnmarshaler:
		return fmt.Sprint(v.Interface())
	}
	switch v.Kind() {
	case reflect.Struct:
		return Values(v.Interface())
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plainOf(v.Index(i))
		}
		return out
	}
	return v.Interface()
}

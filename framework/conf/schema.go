package conf

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/culvert-proxy/culvert/framework"
)

// Schema is the JSON Schema (2020-12) of the struct that defaults holds or
// points to, an object with "properties". Types, doc, enum, min, max and
// required come from the tags, defaults from the values; a Secret has none.
// Unknown keys are refused in nested maps only, so that a schema of common
// keys can stand beside this one.
func Schema(defaults any) []byte {
	v := reflect.ValueOf(defaults)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	s := map[string]any{"type": "object"}
	if v.Kind() == reflect.Struct && !special(addressable(v)) {
		s = structSchema(v)
	}
	delete(s, "additionalProperties")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("conf: schema of %T: %v", defaults, err))
	}
	return out
}

func addressable(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	return out
}

func structSchema(v reflect.Value) map[string]any {
	props := map[string]any{}
	var required []string
	for _, f := range fieldsOf(v.Type()) {
		p := typeSchema(f.typ, addressable(v.FieldByIndex(f.index)), f.limits())
		if f.doc != "" {
			p["description"] = f.doc
		}
		if f.required {
			required = append(required, f.name)
		} else {
			nullable(p)
		}
		props[f.name] = p
	}
	s := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	return s
}

// nullable lets a key stand without a value.
func nullable(p map[string]any) {
	switch t := p["type"].(type) {
	case string:
		p["type"] = []string{t, "null"}
	case []string:
		p["type"] = append(t, "null")
	}
	if e, ok := p["enum"].([]any); ok {
		p["enum"] = append(e, nil)
	}
}

// typeSchema is the schema of one type; v holds the default.
func typeSchema(t reflect.Type, v reflect.Value, l limits) map[string]any {
	switch v.Addr().Interface().(type) {
	case *Node, *json.RawMessage:
		return map[string]any{}
	case *framework.RuleArgs, *framework.Secret:
		return map[string]any{"type": []string{"string", "number"}}
	case encoding.TextUnmarshaler:
		return map[string]any{"type": []string{"string", "number"}}
	}
	s := map[string]any{}
	switch t.Kind() {
	case reflect.Pointer:
		to := reflect.New(t.Elem()).Elem()
		if !v.IsNil() {
			to.Set(v.Elem())
		}
		s = typeSchema(t.Elem(), to, l)
		if v.IsNil() {
			delete(s, "default")
		}
	case reflect.Struct:
		s = structSchema(v)
	case reflect.Slice:
		s["type"] = "array"
		s["items"] = elemSchema(t.Elem(), l)
		listDefault(s, v)
	case reflect.Map:
		s["type"] = "object"
		s["additionalProperties"] = elemSchema(t.Elem(), l)
	case reflect.Interface:
	default:
		scalarSchema(s, v, l)
	}
	return s
}

// elemSchema is the schema of a list's or map's elements: nothing is default.
func elemSchema(t reflect.Type, l limits) map[string]any {
	s := typeSchema(t, reflect.New(t).Elem(), l)
	delete(s, "default")
	return s
}

// listDefault shows a default list of plain values.
func listDefault(s map[string]any, v reflect.Value) {
	switch v.Type().Elem().Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Uint32:
		if v.Len() > 0 && v.Type().Elem() != reflect.TypeFor[framework.Secret]() {
			s["default"] = v.Interface()
		}
	}
}

func scalarSchema(s map[string]any, v reflect.Value, l limits) {
	s["default"] = v.Interface()
	switch v.Kind() {
	case reflect.String:
		s["type"] = []string{"string", "number"}
		if l.enum != nil {
			s["type"] = "string"
			enumSchema(s, l)
		}
	case reflect.Bool:
		s["type"] = "boolean"
	case reflect.Float32, reflect.Float64:
		s["type"] = "number"
	default:
		s["type"] = "integer"
		if v.CanUint() {
			s["minimum"] = 0
		}
		if l.min != nil {
			s["minimum"] = *l.min
		}
		if l.max != nil {
			s["maximum"] = *l.max
		}
	}
}

func enumSchema(s map[string]any, l limits) {
	words := make([]any, len(l.enum))
	for i, w := range l.enum {
		words[i] = w
	}
	s["enum"] = words
}

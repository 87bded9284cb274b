package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// schema is the part of JSON Schema that configurations are described with.
type schema struct {
	Type        kinds              `json:"type"`
	Description string             `json:"description"`
	Default     any                `json:"default"`
	Enum        []any              `json:"enum"`
	Minimum     *float64           `json:"minimum"`
	Maximum     *float64           `json:"maximum"`
	Required    []string           `json:"required"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
}

// kinds is one type or a list of them.
type kinds []string

// UnmarshalJSON implements json.Unmarshaler.
func (k *kinds) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*k = kinds{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(k))
}

func (k kinds) has(name string) bool { return len(k) == 0 || slices.Contains(k, name) }

// schemaOf reads d's schema, derived from its defaults where it has none.
func schemaOf(d framework.Descriptor) (*schema, error) {
	text := d.Schema
	if len(text) == 0 {
		text = conf.Schema(d.Defaults())
	}
	s := &schema{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if !s.Type.has("object") {
		return nil, errors.New("schema: it does not describe an object")
	}
	return s, nil
}

// keys are the names of the properties, sorted.
func (s *schema) keys() []string { return slices.Sorted(maps.Keys(s.Properties)) }

// flaws are what is wrong with s itself.
func (s *schema) flaws(path string) (out []string) {
	known := []string{"object", "array", "string", "number", "integer", "boolean", "null"}
	for _, k := range s.Type {
		if !slices.Contains(known, k) {
			out = append(out, fmt.Sprintf("%s: type %q is none of JSON Schema's", path, k))
		}
	}
	for _, key := range s.Required {
		if s.Properties[key] == nil {
			out = append(out, fmt.Sprintf("%s: %q is required and no property", path, key))
		}
	}
	for _, key := range s.keys() {
		p := s.Properties[key]
		if p == nil {
			out = append(out, fmt.Sprintf("%s: property %q is null", path, key))
			continue
		}
		if p.Description == "" {
			out = append(out, fmt.Sprintf("%s: property %q has no description: give the field a doc tag", path, key))
		}
		// The default of a key that must be there never counts.
		if p.Default != nil && !slices.Contains(s.Required, key) {
			if err := p.accepts(p.Default); err != nil {
				out = append(out, fmt.Sprintf("%s: default of %q: %v", path, key, err))
			}
		}
		out = append(out, p.flaws(path+"."+key)...)
	}
	return out
}

// accepts says what is wrong with a value.
func (s *schema) accepts(v any) error {
	ok := false
	for _, k := range kindsOf(v) {
		ok = ok || s.Type.has(k)
	}
	if !ok {
		return fmt.Errorf("%v is no %v", v, s.Type)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%v is none of %v", v, s.Enum)
	}
	n, number := v.(float64)
	if number && s.Minimum != nil && n < *s.Minimum {
		return fmt.Errorf("%v is less than %v", n, *s.Minimum)
	}
	if number && s.Maximum != nil && n > *s.Maximum {
		return fmt.Errorf("%v is more than %v", n, *s.Maximum)
	}
	return nil
}

// kindsOf are the types that a decoded value has.
func kindsOf(v any) []string {
	switch v := v.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case []any:
		return []string{"array"}
	case map[string]any:
		return []string{"object"}
	case float64:
		if v == float64(int64(v)) {
			return []string{"integer", "number"}
		}
	}
	return []string{"number"}
}

// example is a value that s takes, as JSON.
func (s *schema) example() string {
	v := s.Default
	switch {
	case v != nil:
	case len(s.Enum) > 0:
		v = s.Enum[0]
	case s.Type.has("string"):
		v = "x"
	case s.Type.has("integer") || s.Type.has("number"):
		v = 1
		if s.Minimum != nil {
			v = *s.Minimum
		}
	case s.Type.has("boolean"):
		v = true
	case s.Type.has("array"):
		v = []any{}
	default:
		v = map[string]any{}
	}
	text, _ := json.Marshal(v) // decoded JSON encodes
	return string(text)
}

// wrong is a value of a type that s does not take; "" when it takes them all.
func (s *schema) wrong() string {
	switch {
	case len(s.Type) == 0:
		return ""
	case !s.Type.has("object"):
		return "{a: b}"
	case !s.Type.has("array"):
		return "[a, b]"
	}
	return ""
}

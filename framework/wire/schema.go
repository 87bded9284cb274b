package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// schema is the part of JSON Schema that a published configuration is held
// against. Keywords that are not here are left to the plugin's own check.
type schema struct {
	Type       words              `json:"type"`
	Enum       []any              `json:"enum"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
	MinLength  *int               `json:"minLength"`
	MaxLength  *int               `json:"maxLength"`
	Pattern    string             `json:"pattern"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
	Additional *additional        `json:"additionalProperties"`

	pattern *regexp.Regexp
	names   []string // of Properties, sorted
}

// words is one word or a list of them.
type words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		*w = words{""}
		return json.Unmarshal(b, &(*w)[0])
	}
	return json.Unmarshal(b, (*[]string)(w))
}

func (w words) allow(t string) bool { return len(w) == 0 || slices.Contains(w, t) }

// additional is additionalProperties: a schema, or false for none.
type additional struct {
	none bool
	of   *schema
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *additional) UnmarshalJSON(b []byte) error {
	var allowed bool
	if json.Unmarshal(b, &allowed) == nil {
		a.none = !allowed
		return nil
	}
	return json.Unmarshal(b, &a.of)
}

// maxSchemaDepth bounds the nesting of a published schema. Chosen: no
// configuration is half as deep.
const maxSchemaDepth = 32

// parseSchema reads a published schema: an object with properties.
func parseSchema(text []byte) (*schema, error) {
	if len(text) > MaxSchema {
		return nil, fmt.Errorf("schema has %d bytes, the limit is %d", len(text), MaxSchema)
	}
	s := &schema{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if !s.Type.allow("object") {
		return nil, errors.New("schema: want the schema of an object")
	}
	return s, s.compile(0)
}

func (s *schema) compile(depth int) (err error) {
	if depth > maxSchemaDepth {
		return errors.New("schema: too deep")
	}
	if s.Pattern != "" {
		if s.pattern, err = regexp.Compile(s.Pattern); err != nil {
			return fmt.Errorf("schema: pattern: %w", err)
		}
	}
	s.names = slices.Sorted(maps.Keys(s.Properties))
	parts := slices.Collect(maps.Values(s.Properties))
	if s.Items != nil {
		parts = append(parts, s.Items)
	}
	if s.Additional != nil && s.Additional.of != nil {
		parts = append(parts, s.Additional.of)
	}
	for _, p := range parts {
		if p == nil {
			return errors.New("schema: null is no schema")
		}
		if err := p.compile(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// reading turns a node into JSON as a schema wants it: keys in their right
// spelling, numbers and text as the schema says and not as YAML guesses. So a
// plugin in any language gets what an in-tree type would have decoded.
type reading struct {
	mode     conf.Mode
	problems conf.Problems
}

func (r *reading) add(p conf.Problem) { r.problems = append(r.problems, p) }

// object reads a map; foreign is the keys of others, which are left out.
func (r *reading) object(s *schema, n conf.Node, foreign []string) map[string]any {
	out := map[string]any{}
	known := len(s.names) > 0 || s.Additional != nil && s.Additional.none
	if s.Additional != nil && s.Additional.of != nil || !known {
		for _, e := range n.Entries() {
			if s.Properties[e.Key] == nil && !slices.Contains(foreign, e.Key) {
				of := &schema{}
				if s.Additional != nil && s.Additional.of != nil {
					of = s.Additional.of
				}
				out[e.Key] = r.value(of, e.Value)
			}
		}
	}
	warnings := n.Fields(r.mode, s.names, foreign, func(name string, v conf.Node) {
		if v.Kind() != conf.Null {
			out[name] = r.value(s.Properties[name], v)
		}
	})
	if known {
		r.problems = append(r.problems, warnings...)
	}
	for _, name := range s.Required {
		if _, ok := out[name]; !ok {
			r.add(n.Errorf("key %q is missing", name))
		}
	}
	return out
}

// value reads one value.
func (r *reading) value(s *schema, n conf.Node) any {
	switch n.Kind() {
	case conf.Null, conf.Absent:
		return nil
	case conf.Map:
		if !s.Type.allow("object") {
			r.add(n.Errorf("want %s, got a map", s.wants()))
			return nil
		}
		return r.object(s, n, nil)
	case conf.List:
		return r.list(s, n)
	}
	if slices.Contains(s.Type, "array") && !slices.Contains(s.Type, "string") {
		r.add(n.Errorf("want a list, got a single value"))
		return nil
	}
	return r.scalar(s, n)
}

func (r *reading) list(s *schema, n conf.Node) any {
	if !s.Type.allow("array") {
		r.add(n.Errorf("want %s, got a list", s.wants()))
		return nil
	}
	of := s.Items
	if of == nil {
		of = &schema{}
	}
	out := make([]any, 0, n.Len())
	for _, item := range n.Items() {
		out = append(out, r.value(of, item))
	}
	return out
}

// wants is what a schema's type is called in a message.
func (s *schema) wants() string {
	names := map[string]string{"object": "a map", "array": "a list", "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
	var out []string
	for _, t := range s.Type {
		if name := names[t]; name != "" {
			out = append(out, name)
		}
	}
	return strings.Join(out, " or ")
}

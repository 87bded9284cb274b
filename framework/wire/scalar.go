package wire

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// scalar reads a single value and holds it against the bounds of s.
func (r *reading) scalar(s *schema, n conf.Node) any {
	v, ok := convert(s, n, r.mode != conf.Strict)
	if !ok {
		text, _ := n.Text()
		if slices.Contains(s.Type, "string") {
			text = "" // may be a secret
		}
		r.add(n.Errorf("want %s%s", s.wants(), quoted(text)))
		return nil
	}
	if msg := s.broken(v); msg != "" {
		r.add(n.Errorf("%s", msg))
		return nil
	}
	return v
}

func quoted(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(", got %q", text)
}

// convert gives the scalar n the type that s wants. Text is as the file spells
// it: 0755 stays 0755 where text is wanted.
func convert(s *schema, n conf.Node, loose bool) (any, bool) {
	text, _ := n.Text()
	plain := n.Plain()
	if len(s.Type) == 0 {
		return plain, true
	}
	for _, t := range s.Type {
		if t == "string" && (loose || n.IsString() || slices.Contains(s.Type, "number")) {
			return text, true
		}
		if v, ok := typed(t, text, plain, loose); ok {
			return v, true
		}
	}
	return nil, false
}

// typed is text as a value of the type t. A number keeps all of its digits.
func typed(t, text string, plain any, loose bool) (any, bool) {
	_, isText := plain.(string)
	switch t {
	case "boolean":
		if v, ok := plain.(bool); ok {
			return v, true
		}
		v, err := strconv.ParseBool(text)
		return v, loose && err == nil
	case "integer", "number":
		switch v := plain.(type) {
		case int64, uint64:
			return v, true
		case float64:
			return v, t == "number"
		}
		if !isText || !loose {
			return nil, false
		}
		if v, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
			return v, true
		}
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && t == "number"
	}
	return nil, false
}

// broken says which bound of s the value breaks, "" for none.
func (s *schema) broken(v any) string {
	if text, ok := v.(string); ok {
		switch n := utf8.RuneCountInString(text); {
		case s.MinLength != nil && n < *s.MinLength:
			return fmt.Sprintf("is shorter than %d", *s.MinLength)
		case s.MaxLength != nil && n > *s.MaxLength:
			return fmt.Sprintf("is longer than %d", *s.MaxLength)
		case s.pattern != nil && !s.pattern.MatchString(text):
			return fmt.Sprintf("does not match %s", s.Pattern)
		}
	}
	if f, ok := number(v); ok {
		switch {
		case s.Minimum != nil && f < *s.Minimum:
			return fmt.Sprintf("%v is less than %v", v, *s.Minimum)
		case s.Maximum != nil && f > *s.Maximum:
			return fmt.Sprintf("%v is more than %v", v, *s.Maximum)
		}
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return same(e, v) }) {
		return s.oneOf(v)
	}
	return ""
}

func (s *schema) oneOf(v any) string {
	var list []string
	for _, e := range s.Enum {
		if word, ok := e.(string); ok {
			list = append(list, word)
		}
	}
	msg := fmt.Sprintf("unknown word %q; want one of %s", fmt.Sprint(v), strings.Join(list, ", "))
	if near := conf.Nearest(fmt.Sprint(v), list); near != "" {
		msg = fmt.Sprintf("unknown word %q; did you mean %q?", fmt.Sprint(v), near)
	}
	return msg
}

func number(v any) (float64, bool) {
	switch x := v.(type) {
	case int64:
		return float64(x), true
	case uint64:
		return float64(x), true
	case float64:
		return x, true
	}
	return 0, false
}

// same says whether a value of an enum is v.
func same(e, v any) bool {
	a, okA := number(e)
	b, okB := number(v)
	if okA || okB {
		return okA && okB && a == b
	}
	return e == v
}

// encode is v as JSON, with <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return []byte(strings.TrimSuffix(b.String(), "\n")), err
}

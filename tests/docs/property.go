package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// property is what the table shows of a key.
type property struct {
	Type        any                  `json:"type"`
	Description string               `json:"description"`
	Default     any                  `json:"default"`
	Enum        []any                `json:"enum"`
	Minimum     *json.Number         `json:"minimum"`
	Maximum     *json.Number         `json:"maximum"`
	Properties  map[string]*property `json:"properties"`
	Required    []string             `json:"required"`
}

// rows writes one line for each key, inner ones below theirs.
func (p *property) rows(path string, out io.Writer) {
	for _, key := range slices.Sorted(maps.Keys(p.Properties)) {
		q := p.Properties[key]
		usual := ""
		switch {
		case slices.Contains(p.Required, key):
			usual = "required"
		case q.Default != nil && q.Default != "":
			b, _ := json.Marshal(q.Default) // decoded JSON encodes
			usual = "`" + string(b) + "`"
		}
		fmt.Fprintf(out, "| `%s%s` | %s | %s | %s |\n", path, key, q.value(), usual, strings.ReplaceAll(q.Description, "|", `\|`))
		q.rows(path+key+".", out)
	}
}

// value says what may stand at a key.
func (p *property) value() string {
	var words []string
	for _, w := range p.Enum {
		if w != nil {
			words = append(words, fmt.Sprintf("`%v`", w))
		}
	}
	if len(words) > 0 {
		return strings.Join(words, " ")
	}
	kinds := p.kinds()
	text := slices.Contains(kinds, "string")
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "null" || k == "number" && text })
	out := strings.Join(kinds, " or ")
	if out == "" {
		out = "any"
	}
	if p.Minimum != nil && p.Maximum != nil {
		out += fmt.Sprintf(" %s–%s", *p.Minimum, *p.Maximum)
	}
	return out
}

func (p *property) kinds() (out []string) {
	switch t := p.Type.(type) {
	case string:
		return []string{t}
	case []any:
		for _, k := range t {
			out = append(out, fmt.Sprint(k))
		}
	}
	return out
}

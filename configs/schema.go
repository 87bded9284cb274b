package configs

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// section is a list or map whose entries are of a plugin's type.
type section struct {
	key    string
	kind   framework.Kind
	common any
	byName bool // a map of name to entry, without the key name
}

// sections is the parts of the document that plugins own.
func sections() []section {
	return []section{
		{"proxies", framework.KindOutbound, ProxyCommon{IPVersion: "dual"}, false},
		{"proxy-groups", framework.KindGroup, GroupCommon{Timeout: 5000, Lazy: true, MaxFailedTimes: 5}, false},
		{"listeners", framework.KindInbound, ListenerCommon{}, false},
		{"proxy-providers", framework.KindFetcher, struct{}{}, true},
		{"rule-providers", framework.KindFetcher, struct{}{}, true},
	}
}

// Schema is the JSON Schema (2020-12) of the whole document, for an editor.
// plugins is the schemas of plugin configurations by kind and type; an entry
// of proxies, proxy-groups and listeners is told apart by its type. Schemas
// that are no JSON objects are left out.
func Schema(plugins map[framework.Kind]map[string][]byte) []byte {
	root := object(conf.Schema(Default()))
	root["title"] = "Culvert configuration"
	defs := map[string]any{}
	props := root["properties"].(map[string]any)
	for _, s := range sections() {
		entry := s.entry(plugins[s.kind], defs)
		doc := props[s.key].(map[string]any)["description"]
		if s.byName {
			props[s.key] = map[string]any{"description": doc, "type": []string{"object", "null"}, "additionalProperties": entry}
		} else {
			props[s.key] = map[string]any{"description": doc, "type": []string{"array", "null"}, "items": entry}
		}
	}
	props["rules"] = map[string]any{
		"description": props["rules"].(map[string]any)["description"],
		"type":        []string{"array", "null"}, "items": map[string]any{"type": []string{"string", "null"}},
	}
	if len(defs) > 0 {
		root["$defs"] = defs
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(out, '\n')
}

// entry is the schema of one entry: the common keys, and those of its type.
func (s section) entry(types map[string][]byte, defs map[string]any) map[string]any {
	out := object(conf.Schema(s.common))
	delete(out, "$schema")
	var all []any
	names := slices.Sorted(maps.Keys(types))
	for _, name := range names {
		def := object(types[name])
		if def == nil {
			continue
		}
		delete(def, "$schema")
		id := string(s.kind) + "-" + name
		defs[id] = def
		all = append(all, map[string]any{
			"if":   map[string]any{"properties": map[string]any{"type": map[string]any{"const": name}}, "required": []string{"type"}},
			"then": map[string]any{"$ref": "#/$defs/" + id},
		})
	}
	if len(all) > 0 {
		out["allOf"] = all
	}
	return out
}

func object(text []byte) map[string]any {
	var out map[string]any
	if json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

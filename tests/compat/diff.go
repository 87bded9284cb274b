package compat

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Depth is how far two JSON bodies are compared.
type Depth int

// The depths.
const (
	// Shape compares keys and types; of arrays the type of their elements.
	Shape Depth = iota
	// Values compares everything but the volatile keys.
	Values
)

// volatile are keys whose values differ between two runs of the same kernel.
var volatile = map[string]bool{
	"time": true, "delay": true, "id": true, "start": true, "updatedAt": true, "hitAt": true, "missAt": true, "hitCount": true, "missCount": true,
	"memory": true, "upload": true, "download": true, "uploadTotal": true, "downloadTotal": true, "inuse": true,
	"up": true, "down": true, "upTotal": true, "downTotal": true, "sourcePort": true, "payload": true, "message": true,
	"version": true, "hello": true, "global-ua": true,
}

// named are keys that hold an object by name: its keys are values, not shape.
var named = map[string]bool{"proxies": true, "providers": true, "extra": true}

// diffJSON compares two bodies and says where got differs. Keys that only got
// has are allowed.
func diffJSON(want, got json.RawMessage, depth Depth, skip map[string]string) []string {
	var w, g any
	if err := json.Unmarshal(want, &w); err != nil {
		return []string{fmt.Sprintf("the recording is no JSON: %v", err)}
	}
	if err := json.Unmarshal(got, &g); err != nil {
		return []string{fmt.Sprintf("the answer is no JSON: %v", err)}
	}
	d := differ{depth: depth, skip: skip}
	d.value("", "", w, g)
	return d.found
}

type differ struct {
	depth Depth
	skip  map[string]string // paths that may differ, with the reason
	found []string
}

func (d *differ) add(path, format string, args ...any) {
	d.found = append(d.found, path+": "+fmt.Sprintf(format, args...))
}

func (d *differ) value(path, key string, want, got any) {
	if _, ok := d.skip[path]; ok {
		return
	}
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			d.add(path, "got %T, want an object", got)
			return
		}
		d.object(path, key, w, g)
	case []any:
		g, ok := got.([]any)
		if !ok {
			d.add(path, "got %T, want an array", got)
			return
		}
		d.array(path, key, w, g)
	default:
		d.scalar(path, key, want, got)
	}
}

func (d *differ) object(path, key string, want, got map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		below := path + "/" + k
		if _, ok := d.skip[below]; ok {
			continue
		}
		g, ok := got[k]
		switch {
		case ok:
			d.value(below, k, want[k], g)
		case !named[key] || d.depth == Values:
			d.add(below, "missing")
		}
	}
}

func (d *differ) array(path, key string, want, got []any) {
	if d.depth == Values {
		if len(want) != len(got) {
			d.add(path, "got %d elements, want %d", len(got), len(want))
			return
		}
		for i := range want {
			d.value(fmt.Sprintf("%s/%d", path, i), key, want[i], got[i])
		}
		return
	}
	if len(want) == 0 {
		return
	}
	for i := range got {
		d.value(fmt.Sprintf("%s/%d", path, i), key, want[min(i, len(want)-1)], got[i])
	}
}

func (d *differ) scalar(path, key string, want, got any) {
	if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
		d.add(path, "got %T, want %T", got, want)
		return
	}
	if d.depth == Values && !volatile[key] && want != got {
		d.add(path, "got %v, want %v", got, want)
	}
}

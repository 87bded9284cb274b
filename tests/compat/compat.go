// Package compat replays recorded controller calls against a controller and
// says where its answers differ. The recordings are in testdata; the same code
// runs against fakes and against a whole kernel.
package compat

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Recording is one recorded call and its answer.
type Recording struct {
	Name    string
	Request struct {
		Method  string
		Path    string
		Headers map[string]string
		Body    json.RawMessage // a string is sent as it is, other values as JSON
	}
	Response struct {
		Status   int
		Headers  map[string]string
		Body     json.RawMessage // a string is text unless Content-Type says JSON
		Lines    []Event
		Messages []Event
	}
	// Then is what GET /configs showed afterwards, by "GET /configs -> key".
	Then map[string]json.RawMessage
}

// Event is one line or message of a stream.
type Event struct {
	AtS  float64 `json:"at_s"` // seconds after the request
	Data json.RawMessage
}

// turn is when a recording is replayed: what changes the kernel comes after
// what looks at it, a new document last.
func turn(name string) int {
	for i, prefix := range []string{"storage-put", "storage-get", "storage-delete", "connections-close", "configs-patch", "configs-put", "restart"} {
		if strings.HasPrefix(name, prefix) {
			return i + 1
		}
	}
	return 0
}

// Load reads the recordings in a directory, in the order to replay them in.
func Load(dir string) ([]Recording, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no recordings in %s: %w", dir, err)
	}
	list := make([]Recording, 0, len(paths))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r := Recording{Name: strings.TrimSuffix(filepath.Base(path), ".json")}
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b Recording) int { return turn(a.Name) - turn(b.Name) })
	return list, nil
}

// isJSON says whether the recorded body is a JSON answer.
func (r *Recording) isJSON() bool { return r.Response.Headers["Content-Type"] == "application/json" }

// text is a recorded body that is no JSON; ok is false for one whose bytes are
// not kept.
func text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return "", len(raw) == 0
	}
	return s, !strings.HasPrefix(s, "<") || !strings.HasSuffix(s, ">")
}

// requestBody is what the recorded client sent.
func (r *Recording) requestBody() string {
	raw := r.Request.Body
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	if s == "<JSON string of 1048578 bytes>" {
		return `"` + strings.Repeat("x", 1<<20) + `"`
	}
	return s
}

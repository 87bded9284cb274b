package conf

import "github.com/culvert-proxy/culvert/framework"

// Decode fills the struct that into points to and runs its Validate. A key
// that the document does not have keeps the value that into holds. Keys that
// neither into nor foreign know are warnings. All problems are returned.
func (n Node) Decode(into any, m Mode, foreign ...string) Problems { return nil }

// Source is a Node as a framework.Source.
type Source struct {
	n       Node
	m       Mode
	foreign []string
	warns   Problems
}

var _ framework.Source = (*Source)(nil)

// Source gives n to a Descriptor. foreign is the keys of others.
func (n Node) Source(m Mode, foreign ...string) *Source {
	return &Source{n: n, m: m, foreign: foreign}
}

// Decode is Node.Decode; the error is the Problems that are errors.
func (s *Source) Decode(into any) error { return nil }

// Warnings is what the last Decode warned of.
func (s *Source) Warnings() Problems { return s.warns }

// Hash is a digest of the value with aliases and merges resolved. It does not
// depend on place, quoting, style and order of keys.
func (n Node) Hash() [32]byte { return [32]byte{} }

// JSON is the value as JSON, keys in file order.
func (n Node) JSON() ([]byte, error) { return nil, nil }

// Set puts a value over what the document has at path; origin, such as
// "flag -secret", is its place from then on.
func (t *Tree) Set(path []string, value any, origin string) {}

// Schema is the JSON Schema (2020-12) of the struct that defaults holds.
func Schema(defaults any) []byte { return nil }

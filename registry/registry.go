// Package registry holds the plugin types that there are: Descriptors by kind
// and type, aliases included, with where each came from. The kernel reads it
// as its Catalog. Types that are linked in stay; those of processes come with
// Load and go with Unload. How a process is run is a Launcher's business.
package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/culvert-proxy/culvert/framework"
)

// InTree is the origin of the types that are linked in.
const InTree = "in-tree"

// Entry is one type and where it came from.
type Entry struct {
	framework.Descriptor
	Origin     string // InTree, or the name of a plugin
	Generation int    // counts the loads and upgrades of the origin; 0 in the tree
}

// Registry is a set of plugin types. It is safe for concurrent use.
type Registry struct {
	launcher Launcher

	changing sync.Mutex // held for a whole Load, Upgrade or Unload

	mu      sync.RWMutex // guards all below
	byName  map[key]Entry
	origins map[string]*origin
	epoch   uint64 // counts the loads of all origins
	watch   map[chan Event]bool
}

type key struct {
	kind framework.Kind
	typ  string
}

// New makes a Registry of in-tree types. A type or alias that appears twice is
// an error that names both.
func New(ds ...framework.Descriptor) (*Registry, error) {
	r := &Registry{byName: map[key]Entry{}, origins: map[string]*origin{}, watch: map[chan Event]bool{}}
	var errs []error
	for _, d := range ds {
		errs = append(errs, r.add(Entry{Descriptor: d, Origin: InTree}))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// add puts e under its names; the caller holds mu, or is the only one yet.
func (r *Registry) add(e Entry) error {
	names := append([]string{e.Type}, e.Aliases...)
	for _, name := range names {
		if have, ok := r.byName[key{e.Kind, name}]; ok {
			return fmt.Errorf("%s %q from %s is already there as %q from %s", e.Kind, name, e.Origin, have.Type, have.Origin)
		}
	}
	for _, name := range names {
		r.byName[key{e.Kind, name}] = e
	}
	return nil
}

// Lookup finds a type by its name or an alias.
func (r *Registry) Lookup(k framework.Kind, typ string) (framework.Descriptor, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.byName[key{k, typ}]
	return e.Descriptor, ok
}

// Types are the names and aliases of a kind, sorted.
func (r *Registry) Types(k framework.Kind) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var names []string
	for at := range r.byName {
		if at.kind == k {
			names = append(names, at.typ)
		}
	}
	slices.Sort(names)
	return names
}

// List is all types, aliases left out, sorted by kind and type.
func (r *Registry) List() []Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []Entry
	for at, e := range r.byName {
		if at.typ == e.Type {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int {
		if c := strings.Compare(string(a.Kind), string(b.Kind)); c != 0 {
			return c
		}
		return strings.Compare(a.Type, b.Type)
	})
	return list
}

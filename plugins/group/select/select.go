// Package selectgroup is the group whose member a user picks by hand. The
// choice is kept by name: it counts whenever a member of that name is there,
// and until then the first member does.
package selectgroup

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/culvert-proxy/culvert/framework"
)

// Config is the policy; the members are the kernel's.
type Config struct {
	DefaultSelected string `yaml:"default-selected" doc:"the member to begin with; the first one when it is absent"`
}

// Descriptor describes the group.
func Descriptor() framework.Descriptor {
	return framework.NewGroup("select", Default, New, framework.WithLabel("Selector"),
		framework.WithSummary("use the member that a user picked"), framework.WithStability(framework.Stable))
}

// Default returns the configuration of an empty mapping.
func Default() Config { return Config{} }

// New makes one instance.
func New(_ context.Context, _ framework.Host, c Config) (framework.Group, error) {
	return &group{initial: c.DefaultSelected}, nil
}

type group struct {
	initial string
	choice  atomic.Pointer[string] // nil: nobody chose
}

// Pick returns the choice, else the configured default, else the first member.
func (g *group) Pick(_ *framework.Flow, m framework.Members) (string, error) {
	names := m.Names()
	if c := g.choice.Load(); c != nil && slices.Contains(names, *c) {
		return *c, nil
	}
	if g.initial != "" && slices.Contains(names, g.initial) {
		return g.initial, nil
	}
	return names[0], nil
}

// Report is of no interest: a user's choice stands whether it works or not.
func (g *group) Report(string, framework.Result) {}

// Select makes name the choice; "" clears it.
func (g *group) Select(name string, m framework.Members) error {
	if name == "" {
		g.choice.Store(nil)
		return nil
	}
	if !slices.Contains(m.Names(), name) {
		return fmt.Errorf("%q: %w", name, framework.ErrNotMember)
	}
	g.choice.Store(&name)
	return nil
}

// Selected is the choice, "" when nobody chose.
func (g *group) Selected() string {
	if c := g.choice.Load(); c != nil {
		return *c
	}
	return ""
}

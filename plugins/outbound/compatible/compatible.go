// Package compatible is the outbound that stands in for the members of a group
// that has none. It goes to the destination itself, as direct does
// (config-rules.md §5).
package compatible

import (
	"context"

	"github.com/culvert-proxy/culvert/framework"
)

// Config has no keys.
type Config struct{}

// Default returns the defaults.
func Default() Config { return Config{} }

// Descriptor describes the type.
func Descriptor() framework.Descriptor {
	return framework.NewOutbound("compatible", Default, New,
		framework.WithLabel("Compatible"),
		framework.WithSummary("stands in for the members of an empty group"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket, framework.CapDirect))
}

// New makes a compatible outbound over h's dialer.
func New(_ context.Context, h framework.Host, _ Config) (framework.Outbound, error) {
	return outbound{h.Dialer()}, nil
}

type outbound struct{ framework.Dialer }

// Close does nothing: connections live on without the outbound.
func (outbound) Close() error { return nil }

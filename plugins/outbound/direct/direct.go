// Package direct is the outbound that goes to the destination itself, through
// the instance's dialer. DIRECT is one; its behaviour is that of the type
// direct in config-proxies.md §3.
package direct

import (
	"context"

	"github.com/culvert-proxy/culvert/framework"
)

// Config has no keys: all that a direct outbound has is common to outbounds.
type Config struct{}

// Default returns the defaults.
func Default() Config { return Config{} }

// Descriptor describes the type.
func Descriptor() framework.Descriptor {
	return framework.NewOutbound("direct", Default, New,
		framework.WithLabel("Direct"),
		framework.WithSummary("reaches the destination from this machine"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket, framework.CapDirect))
}

// New makes a direct outbound over h's dialer.
func New(_ context.Context, h framework.Host, _ Config) (framework.Outbound, error) {
	return outbound{h.Dialer()}, nil
}

// outbound is the dialer itself, so that streams stay raw.
type outbound struct{ framework.Dialer }

// Close does nothing: connections live on without the outbound.
func (outbound) Close() error { return nil }

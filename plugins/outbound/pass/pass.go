// Package pass has the outbounds that make matching go on: pass, which leaves a
// sub-rule, and pass-rule, which only goes on to the next rule. Both are the
// router's doing (CapPass, CapPassRule). Where no rule is left to go on with,
// as in mode global, it refuses like reject (config-rules.md §5).
package pass

import (
	"context"
	"net"

	"github.com/culvert-proxy/culvert/framework"
)

// Config has no keys.
type Config struct{}

// Default returns the defaults.
func Default() Config { return Config{} }

// Descriptors are the types of this package.
func Descriptors() []framework.Descriptor { return []framework.Descriptor{Descriptor(), Rule()} }

// Rule describes pass-rule.
func Rule() framework.Descriptor {
	return framework.NewOutbound("pass-rule", Default, New,
		framework.WithLabel("PassRule"),
		framework.WithSummary("matching goes on with the next rule, in a sub-rule too"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket, framework.CapPassRule))
}

// Descriptor describes pass.
func Descriptor() framework.Descriptor {
	return framework.NewOutbound("pass", Default, New,
		framework.WithLabel("Pass"),
		framework.WithSummary("matching goes on with the next rule"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket, framework.CapPass))
}

// New makes a pass outbound.
func New(context.Context, framework.Host, Config) (framework.Outbound, error) { return outbound{}, nil }

type outbound struct{}

// DialStream implements framework.Dialer.
func (outbound) DialStream(context.Context, framework.Addr) (net.Conn, error) {
	return nil, framework.ErrRejected
}

// DialPacket implements framework.Dialer.
func (outbound) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrRejected
}

// Close implements io.Closer.
func (outbound) Close() error { return nil }

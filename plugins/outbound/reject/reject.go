// Package reject has the outbounds that refuse flows on purpose: reject, which
// says so, and reject-drop, which says nothing (config-rules.md §5).
package reject

import (
	"context"
	"net"

	"github.com/culvert-proxy/culvert/framework"
)

// Config has no keys.
type Config struct{}

// Default returns the defaults.
func Default() Config { return Config{} }

// Descriptors describes reject and reject-drop.
func Descriptors() []framework.Descriptor { return []framework.Descriptor{Descriptor(), Drop()} }

// Descriptor describes reject: every dial fails with ErrRejected.
func Descriptor() framework.Descriptor {
	return framework.NewOutbound("reject", Default, New,
		framework.WithLabel("Reject"),
		framework.WithSummary("refuses every flow"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket, framework.CapReject))
}

// Drop describes reject-drop: every dial succeeds and leads nowhere.
func Drop() framework.Descriptor {
	return framework.NewOutbound("reject-drop", Default, NewDrop,
		framework.WithLabel("RejectDrop"),
		framework.WithSummary("swallows every flow and stays silent"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket, framework.CapReject))
}

// New makes a reject outbound.
func New(context.Context, framework.Host, Config) (framework.Outbound, error) { return reject{}, nil }

type reject struct{}

// DialStream implements framework.Dialer.
func (reject) DialStream(context.Context, framework.Addr) (net.Conn, error) {
	return nil, framework.ErrRejected
}

// DialPacket implements framework.Dialer.
func (reject) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrRejected
}

// Close implements io.Closer.
func (reject) Close() error { return nil }

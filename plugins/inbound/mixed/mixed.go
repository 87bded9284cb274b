// Package mixed is the inbound that serves SOCKS and HTTP on one port: a first
// byte of 4 or 5 is SOCKS, everything else HTTP. It adds nothing to either.
package mixed

import (
	"context"
	"io"
	"net"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/accept"
	"github.com/culvert-proxy/culvert/plugins/internal/httpproxy"
	"github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

// Config is the configuration of one instance.
type Config struct {
	accept.Options `yaml:",inline"`
	UDP            bool `yaml:"udp" doc:"serve UDP ASSOCIATE"`
}

// Descriptor describes the inbound.
func Descriptor() framework.Descriptor {
	return framework.NewInbound("mixed", Default, New, framework.WithLabel("Mixed"),
		framework.WithSummary("SOCKS and HTTP proxy on one port"), framework.WithStability(framework.Beta))
}

// Default is the configuration of an empty mapping.
func Default() Config { return Config{Options: accept.Default(), UDP: true} }

// New makes an instance.
func New(_ context.Context, h framework.Host, c Config) (framework.Inbound, error) {
	return &inbound{host: h, server: accept.New(h, c.Options), udp: c.UDP}, nil
}

type inbound struct {
	host   framework.Host
	server *accept.Server
	udp    bool

	socks socks5.Server
	http  httpproxy.Server
}

// Start binds the ports and serves.
func (in *inbound) Start(ctx context.Context, h framework.Handler) error {
	name, admission := in.host.Name(), in.server.Admission()
	in.socks.Name, in.socks.Handler, in.socks.Admission = name, h, admission
	in.http.Name, in.http.Handler, in.http.Admission = name, h, admission
	in.http.HandshakeTime = accept.HandshakeTime
	p := accept.Protocol{Stream: in.serve}
	if in.udp {
		in.socks.Associations = new(socks5.Associations)
		p.Packets = func(ctx context.Context, c net.PacketConn) func() { return in.socks.ServePackets(ctx, c) }
	}
	return in.server.Start(ctx, p)
}

// serve reads one byte: a connection that says nothing costs no buffer.
func (in *inbound) serve(ctx context.Context, c *accept.Conn) {
	first := make([]byte, 1)
	raw := c.Raw()
	if _, err := io.ReadFull(raw, first); err != nil {
		raw.Close()
		return
	}
	if first[0] == 4 || first[0] == 5 {
		in.socks.Serve(ctx, socks5.Accepted{Conn: raw, Source: c.Source(), Local: c.Local(), First: first, Guard: c})
		return
	}
	in.http.Serve(ctx, httpproxy.Accepted{Conn: raw, Source: c.Source(), Local: c.Local(), First: first, Guard: c})
}

// Close ends accepting; flows live on.
func (in *inbound) Close() error { return in.server.Close() }

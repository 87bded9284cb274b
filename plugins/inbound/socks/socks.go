// Package socks is the inbound of SOCKS 4, 4a and 5 with UDP on the number of
// its TCP port: RFC 1928, RFC 1929.
package socks

import (
	"context"
	"net"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/accept"
	"github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

// Config is the configuration of one instance.
type Config struct {
	accept.Options `yaml:",inline"`
	UDP            bool `yaml:"udp" doc:"serve UDP ASSOCIATE"`
}

// Descriptor describes the inbound.
func Descriptor() framework.Descriptor {
	return framework.NewInbound("socks", Default, New, framework.WithLabel("Socks"),
		framework.WithSummary("SOCKS 4, 4a and 5 with UDP"), framework.WithStability(framework.Beta))
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
}

// Start binds the ports and serves.
func (in *inbound) Start(ctx context.Context, h framework.Handler) error {
	s := &socks5.Server{Name: in.host.Name(), Handler: h, Admission: in.server.Admission()}
	p := accept.Protocol{Stream: func(ctx context.Context, c *accept.Conn) {
		s.Serve(ctx, socks5.Accepted{Conn: c.Raw(), Source: c.Source(), Local: c.Local(), Guard: c})
	}}
	if in.udp {
		s.Associations = new(socks5.Associations)
		p.Packets = func(ctx context.Context, c net.PacketConn) func() { return s.ServePackets(ctx, c) }
	}
	return in.server.Start(ctx, p)
}

// Close ends accepting; flows live on.
func (in *inbound) Close() error { return in.server.Close() }

// Package http is the inbound of an HTTP proxy: CONNECT and plain requests.
// RFC 9110, RFC 9112.
package http

import (
	"context"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/accept"
	"github.com/culvert-proxy/culvert/plugins/internal/httpproxy"
)

// Config is the configuration of one instance.
type Config struct {
	accept.Options `yaml:",inline"`
}

// Descriptor describes the inbound.
func Descriptor() framework.Descriptor {
	return framework.NewInbound("http", Default, New, framework.WithLabel("HTTP"),
		framework.WithSummary("HTTP proxy: CONNECT and plain requests"), framework.WithStability(framework.Beta))
}

// Default is the configuration of an empty mapping.
func Default() Config { return Config{Options: accept.Default()} }

// New makes an instance.
func New(_ context.Context, h framework.Host, c Config) (framework.Inbound, error) {
	return &inbound{host: h, server: accept.New(h, c.Options)}, nil
}

type inbound struct {
	host   framework.Host
	server *accept.Server
}

// Start binds the ports and serves.
func (in *inbound) Start(ctx context.Context, h framework.Handler) error {
	s := &httpproxy.Server{Name: in.host.Name(), Handler: h, Admission: in.server.Admission(), HandshakeTime: accept.HandshakeTime}
	return in.server.Start(ctx, accept.Protocol{Stream: func(ctx context.Context, c *accept.Conn) {
		s.Serve(ctx, httpproxy.Accepted{Conn: c.Raw(), Source: c.Source(), Local: c.Local(), Guard: c})
	}})
}

// Close ends accepting; flows live on.
func (in *inbound) Close() error { return in.server.Close() }

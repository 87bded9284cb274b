// Package socks5 is the outbound to a SOCKS5 server: RFC 1928, with user and
// password as in RFC 1929, streams (CONNECT) and packets (UDP ASSOCIATE), plain
// or in TLS. Its keys are those of config-proxies.md §3.
package socks5

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/destination"
	"github.com/culvert-proxy/culvert/plugins/internal/handshake"
	socks "github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

// Config is the configuration of a socks5 outbound.
type Config struct {
	Server         string           `yaml:"server" required:"true" doc:"the server's name or address"`
	Port           int              `yaml:"port" required:"true" min:"1" max:"65535" doc:"the server's port"`
	Username       string           `yaml:"username" doc:"user; without one no authentication is offered"`
	Password       framework.Secret `yaml:"password" doc:"password of the user"`
	UDP            bool             `yaml:"udp" doc:"carry packets through UDP ASSOCIATE"`
	TLS            bool             `yaml:"tls" doc:"speak TLS with the server"`
	SNI            string           `yaml:"sni" doc:"name to send and to check in TLS; the server's when empty"`
	SkipCertVerify bool             `yaml:"skip-cert-verify" doc:"check neither chain nor name of the certificate"`
	Fingerprint    string           `yaml:"fingerprint" doc:"SHA-256 of the certificate to insist on, in hex"`
	Certificate    string           `yaml:"certificate" doc:"client certificate, PEM text or a path"`
	PrivateKey     framework.Secret `yaml:"private-key" doc:"key of the client certificate, PEM text or a path"`
}

// Default returns the defaults.
func Default() Config { return Config{} }

// Validate checks what the types cannot say.
func (c Config) Validate() error {
	var errs []error
	if len(c.Username) > 255 {
		errs = append(errs, &framework.FieldError{Path: "username", Msg: "is longer than 255 bytes"})
	}
	if len(c.Password) > 255 {
		errs = append(errs, &framework.FieldError{Path: "password", Msg: "is longer than 255 bytes"})
	}
	return errors.Join(append(errs, c.tls().Check())...)
}

func (c Config) tls() handshake.TLSOptions {
	o := handshake.TLSOptions{
		ServerName:     c.SNI,
		SkipCertVerify: c.SkipCertVerify,
		Fingerprint:    c.Fingerprint,
		Certificate:    c.Certificate,
		PrivateKey:     string(c.PrivateKey),
	}
	if o.ServerName == "" {
		o.ServerName = c.Server
	}
	return o
}

// Descriptor describes the type.
func Descriptor() framework.Descriptor {
	return framework.NewOutbound("socks5", Default, New,
		framework.WithLabel("Socks5"),
		framework.WithSummary("reaches destinations through a SOCKS5 server"),
		framework.WithStability(framework.Beta),
		framework.WithCaps(framework.CapPacket))
}

// New makes a socks5 outbound.
func New(_ context.Context, h framework.Host, c Config) (framework.Outbound, error) {
	server, err := destination.New(c.Server, uint16(c.Port))
	if err != nil {
		return nil, &framework.FieldError{Path: "server", Msg: err.Error()}
	}
	o := &outbound{host: h, config: c, server: server, buffers: make(buffers, spare)}
	if c.TLS {
		options := c.tls()
		options.Dir = h.Dir()
		if o.tls, err = handshake.NewTLS(options); err != nil {
			return nil, err
		}
	}
	return o, nil
}

type outbound struct {
	host   framework.Host
	config Config
	server framework.Addr
	tls    *handshake.TLS // nil for plain

	buffers buffers // for packets on their way out, of all sessions
}

// Close does nothing: connections live on without the outbound.
func (*outbound) Close() error { return nil }

// CarriesPackets implements framework.PacketCarrier.
func (o *outbound) CarriesPackets() bool { return o.config.UDP }

// DialStream asks the server for a stream. Without TLS it is the server's own
// connection, so that it can be spliced.
func (o *outbound) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	c, err := o.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = handshake.Do(ctx, c, func() error {
		return socks.Connect(c, to, o.config.Username, string(o.config.Password))
	})
	if err != nil {
		c.Close()
		return nil, o.failed(err)
	}
	return c, nil
}

// dial connects to the server, in TLS when configured.
func (o *outbound) dial(ctx context.Context) (net.Conn, error) {
	c, err := o.host.Dialer().DialStream(ctx, o.server)
	if err != nil {
		return nil, err
	}
	if o.tls == nil {
		return c, nil
	}
	t, err := o.tls.Client(ctx, c)
	if err != nil {
		return nil, o.failed(err)
	}
	return t, nil
}

// failed names the server in an error and keeps its class.
func (o *outbound) failed(err error) error {
	return fmt.Errorf("socks5 server %s: %w", o.server, err)
}

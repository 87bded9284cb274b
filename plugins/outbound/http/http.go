// Package http is the outbound to an HTTP proxy: streams through CONNECT
// (RFC 9110 §9.3.6), plain or in TLS, with Basic authentication (RFC 7617). It
// carries no packets. Its keys are those of config-proxies.md §3.
package http

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/destination"
	"github.com/culvert-proxy/culvert/plugins/internal/handshake"
)

// Config is the configuration of an http outbound.
type Config struct {
	Server         string                      `yaml:"server" required:"true" doc:"the proxy's name or address"`
	Port           int                         `yaml:"port" required:"true" min:"1" max:"65535" doc:"the proxy's port"`
	Username       string                      `yaml:"username" doc:"user for Basic authentication; sent when the password is set, too"`
	Password       framework.Secret            `yaml:"password" doc:"password for Basic authentication"`
	Headers        map[string]framework.Secret `yaml:"headers" doc:"header fields to send with CONNECT, in place of the usual ones"`
	TLS            bool                        `yaml:"tls" doc:"speak TLS with the proxy"`
	SNI            string                      `yaml:"sni" doc:"name to send and to check in TLS; the server's when empty"`
	SkipCertVerify bool                        `yaml:"skip-cert-verify" doc:"check neither chain nor name of the certificate"`
	Fingerprint    string                      `yaml:"fingerprint" doc:"SHA-256 of the certificate to insist on, in hex"`
	Certificate    string                      `yaml:"certificate" doc:"client certificate, PEM text or a path"`
	PrivateKey     framework.Secret            `yaml:"private-key" doc:"key of the client certificate, PEM text or a path"`
}

// Default returns the defaults.
func Default() Config { return Config{} }

// Validate checks what the types cannot say.
func (c Config) Validate() error {
	return errors.Join(checkHeaders(c.Headers), c.tls().Check())
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
	return framework.NewOutbound("http", Default, New,
		framework.WithLabel("Http"),
		framework.WithSummary("reaches destinations through an HTTP proxy"),
		framework.WithStability(framework.Beta))
}

// New makes an http outbound.
func New(_ context.Context, h framework.Host, c Config) (framework.Outbound, error) {
	server, err := destination.New(c.Server, uint16(c.Port))
	if err != nil {
		return nil, &framework.FieldError{Path: "server", Msg: err.Error()}
	}
	o := &outbound{host: h, server: server, request: newRequest(c)}
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
	host    framework.Host
	server  framework.Addr
	request request
	tls     *handshake.TLS // nil for plain
}

// Close does nothing: connections live on without the outbound.
func (*outbound) Close() error { return nil }

// DialPacket implements framework.Dialer.
func (*outbound) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.Classed(framework.ErrUnsupported, errors.New("an http proxy carries no packets"))
}

// DialStream asks the proxy for a tunnel. Without TLS, and unless the
// destination spoke at once, it is the proxy's own connection, so that it can
// be spliced.
func (o *outbound) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	c, err := o.dial(ctx)
	if err != nil {
		return nil, err
	}
	var rest []byte
	err = handshake.Do(ctx, c, func() (err error) {
		rest, err = o.request.send(c, to)
		return err
	})
	if err != nil {
		c.Close()
		return nil, o.failed(err)
	}
	if len(rest) == 0 {
		return c, nil
	}
	return &prefixed{Conn: c, head: rest}, nil
}

// dial connects to the proxy, in TLS when configured.
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

// failed names the proxy in an error and keeps its class.
func (o *outbound) failed(err error) error {
	return fmt.Errorf("http proxy %s: %w", o.server, err)
}

// prefixed is a connection of which some bytes have been read already.
type prefixed struct {
	net.Conn
	head []byte
}

// Read gives the bytes read already first.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.head)
	if p.head = p.head[n:]; len(p.head) == 0 {
		p.head = nil
	}
	return n, nil
}

// CloseWrite ends the sending side where the connection can.
func (p *prefixed) CloseWrite() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

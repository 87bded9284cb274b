// Package acme is a complete third-party plugin: an outbound for the protocol
// ACME/1, a made-up one. The client sends one line, "ACME/1 key host:port",
// the server answers "OK" or "NO reason", and bytes follow. A rule and a fetcher
// of the same maker stand beside it. It imports the contract and nothing else of Culvert.
package acme

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Config is the configuration of an acme outbound.
type Config struct {
	Server string           `yaml:"server" required:"true" doc:"the server's name or address"`
	Port   int              `yaml:"port" required:"true" min:"1" max:"65535" doc:"the server's port"`
	Key    framework.Secret `yaml:"key" doc:"what the server wants to see"`
}

// Default returns the defaults.
func Default() Config { return Config{Key: "acme"} }

// Validate checks what the types cannot say.
func (c Config) Validate() error {
	if strings.ContainsAny(string(c.Key), " \n") {
		return &framework.FieldError{Path: "key", Msg: "holds a space or a line end"}
	}
	return nil
}

// Descriptor describes the type.
func Descriptor() framework.Descriptor {
	return framework.NewOutbound("acme", Default, New,
		framework.WithLabel("Acme"),
		framework.WithSummary("reaches destinations through an ACME/1 server"))
}

// New makes an acme outbound.
func New(_ context.Context, h framework.Host, c Config) (framework.Outbound, error) {
	return &outbound{h, c}, nil
}

type outbound struct {
	host   framework.Host
	config Config
}

// DialStream asks the server for a stream.
func (o *outbound) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	o.host.Count("dials", 1)
	c, err := o.host.Dialer().DialStream(ctx, framework.Addr{Host: o.config.Server, Port: uint16(o.config.Port)})
	if err != nil {
		return nil, err
	}
	if err := o.greet(ctx, c, to); err != nil {
		c.Close()
		return nil, fmt.Errorf("acme server: %w", err)
	}
	return c, nil
}

func (o *outbound) greet(ctx context.Context, c net.Conn, to framework.Addr) error {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(c, "ACME/1 %s %s\n", string(o.config.Key), to); err != nil {
		return err
	}
	line, err := readLine(c)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return framework.Classed(framework.ErrProtocol, err)
	case line == "OK":
		return nil
	}
	return framework.Classed(framework.ErrRefused, errors.New(strings.TrimPrefix(line, "NO ")))
}

// readLine reads a line and no byte more: what follows is the flow's.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < 256 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", errors.New("a line of more than 256 bytes")
}

// DialPacket is not part of ACME/1.
func (o *outbound) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.Classed(framework.ErrUnsupported, errors.New("ACME/1 carries no packets"))
}

// Close does nothing: connections live on without the outbound.
func (o *outbound) Close() error { return nil }

// Rule describes ACME-WORD: it holds for host names that contain a word.
func Rule() framework.Descriptor {
	return framework.NewRule("ACME-WORD", "AcmeWord", func(a framework.RuleArgs) (framework.Rule, error) {
		if a.Payload == "" {
			return nil, errors.New("the payload is empty")
		}
		return word(strings.ToLower(a.Payload)), nil
	}, framework.WithSummary("holds for host names that contain a word"))
}

type word string

// Match implements framework.Rule.
func (w word) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	return strings.Contains(facts.Host(), string(w)), nil
}

// KeepVerdict says that the kernel need not ask again for a minute.
func (word) KeepVerdict() time.Duration { return time.Minute }

// ListConfig is the configuration of an acme-list fetcher.
type ListConfig struct {
	Server string `yaml:"server" required:"true" doc:"the server's name or address"`
	Port   int    `yaml:"port" required:"true" min:"1" max:"65535" doc:"the server's port"`
}

// Fetcher describes acme-list: a document that an ACME/1 server sends after
// "LIST".
func Fetcher() framework.Descriptor {
	return framework.NewFetcher("acme-list", func() ListConfig { return ListConfig{} },
		func(_ context.Context, h framework.Host, c ListConfig) (framework.Fetcher, error) {
			return &list{h, c}, nil
		}, framework.WithSummary("gets a list from an ACME/1 server"))
}

type list struct {
	host   framework.Host
	config ListConfig
}

// Fetch implements framework.Fetcher. The first line of the answer is the
// version.
func (l *list) Fetch(ctx context.Context, since framework.Version) (framework.Document, error) {
	c, err := l.host.Dialer().DialStream(ctx, framework.Addr{Host: l.config.Server, Port: uint16(l.config.Port)})
	if err != nil {
		return framework.Document{}, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	body := &body{Reader: bufio.NewReader(c), conn: c, stop: stop}
	fmt.Fprintf(c, "LIST\n")
	version, err := body.ReadString('\n')
	if err != nil {
		body.Close()
		return framework.Document{}, framework.Classed(framework.ErrProtocol, err)
	}
	version = strings.TrimSuffix(version, "\n")
	if version == string(since) {
		body.Close()
		return framework.Document{}, framework.ErrUnchanged
	}
	return framework.Document{Body: body, Version: framework.Version(version)}, nil
}

type body struct {
	*bufio.Reader
	conn net.Conn
	stop func() bool
}

func (b *body) Close() error {
	b.stop()
	return b.conn.Close()
}

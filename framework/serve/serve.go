// Package serve is what the main function of a plugin process calls: Main
// serves Descriptors to the kernel that started the process, until the kernel
// ends it or goes away. It does what is about a process (handshake through
// go-plugin, the lifeline on stdin, JSON log lines on stderr); what goes over
// the sockets is wire's.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/wire"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// Main serves ds and does not return: it is the one line in a plugin's main.
// The process ends when the kernel says so, when its last flow after a Drain
// has ended, or when stdin ends because the kernel is gone. Without a kernel it
// says what the program is for and exits with status 1.
func Main(ds ...framework.Descriptor) {
	if err := serve(ds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// errAlone is for a user who starts the program by hand.
func errAlone(ds []framework.Descriptor) error {
	text := "this is a plugin for Culvert: put it under the home directory and name it in the section plugins: of the configuration. It holds:"
	for _, d := range ds {
		text += fmt.Sprintf("\n  %s %s\t%s", d.Kind, d.Type, d.Summary)
	}
	return errors.New(text)
}

func serve(ds []framework.Descriptor) error {
	if os.Getenv(wire.CookieKey) != wire.CookieValue {
		return errAlone(ds)
	}
	token, err := wire.ParseToken(os.Getenv(wire.EnvToken))
	if err != nil {
		return fmt.Errorf("%s: %w", wire.EnvToken, err)
	}
	// go-plugin takes over os.Stderr later; the log keeps the real one.
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	hostPath := os.Getenv(wire.EnvHost)
	server, err := wire.NewServer(wire.ServerConfig{Types: ds, Version: version(), Token: token, Log: log,
		DialHost: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", hostPath)
		}})
	if err != nil {
		return err
	}
	flows, err := net.Listen("unix", os.Getenv(wire.EnvData))
	if err != nil {
		return fmt.Errorf("%s: %w", wire.EnvData, err)
	}
	go server.ServeData(flows) // ends with the process
	go lifeline()              // ends the process
	go func() {                // ends the process
		<-server.Drained()
		os.Exit(0)
	}()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: wire.Version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{wire.Version: {wire.HealthName: &control{server: server}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(wire.MaxMessage))...)
		},
		Logger: hclog.NewNullLogger(),
	})
	return nil
}

// lifeline ends the process when the kernel is gone: it holds the other end of
// stdin and never writes.
func lifeline() {
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// version is what the build says of the plugin's module.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// control is the control channel as go-plugin serves it.
type control struct {
	plugin.NetRPCUnsupportedPlugin
	server *wire.Server
}

// GRPCServer implements plugin.GRPCPlugin.
func (c *control) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterPluginServer(s, c.server.Service())
	return nil
}

// GRPCClient implements plugin.GRPCPlugin. The kernel's end is in
// registry/subproc.
func (*control) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.ErrUnsupported
}

package wire

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// ServerConfig is what a Server is made from.
type ServerConfig struct {
	Types    []framework.Descriptor // outbounds, rules and fetchers
	Version  string                 // of the plugin, for lists
	Token    Token
	Log      *slog.Logger
	DialHost func(ctx context.Context) (net.Conn, error) // opens a connection of the host channel
}

// Server is the process's end: it serves Descriptors to a kernel. Service is
// for the control channel, ServeData for the flows.
type Server struct {
	ServerConfig

	buffers buffers
	flows   conns
	idle    idle // of the host channel
	counts  counts

	mu        sync.Mutex // guards below
	instances map[uint32]*opened
	draining  bool
	active    int           // flows, yielded ones not
	drained   chan struct{} // closes when draining and no flow is left
}

// opened is an instance in this process.
type opened struct {
	value  any // framework.Outbound, Rule or Fetcher
	cancel context.CancelFunc
}

// VerdictKeeper is a Rule that says for how long its verdicts hold for flows
// with the same network, host, destination address and port. The kernel then
// does not ask again.
type VerdictKeeper interface{ KeepVerdict() time.Duration }

// NewServer makes a Server. A type that cannot live in a process, or stands
// twice, is an error.
func NewServer(c ServerConfig) (*Server, error) {
	seen := map[typeKey]bool{}
	for _, d := range c.Types {
		switch d.Kind {
		case framework.KindOutbound, framework.KindRule, framework.KindFetcher:
		default:
			return nil, fmt.Errorf("%s %q: a process can hold outbounds, rules and fetchers", d.Kind, d.Type)
		}
		k := typeKey{string(d.Kind), d.Type}
		if seen[k] {
			return nil, fmt.Errorf("%s %q stands twice", d.Kind, d.Type)
		}
		seen[k] = true
	}
	return &Server{ServerConfig: c, instances: map[uint32]*opened{}, drained: make(chan struct{}), counts: newCounts()}, nil
}

// Drained closes when Drain was asked for and the last flow has ended.
func (s *Server) Drained() <-chan struct{} { return s.drained }

// Close closes all instances and flows, and waits for them.
func (s *Server) Close() {
	s.flows.end()
	s.idle.end()
	s.mu.Lock()
	all := s.instances
	s.instances = map[uint32]*opened{}
	s.mu.Unlock()
	for _, o := range all {
		o.close()
	}
}

func (o *opened) close() {
	if c, ok := o.value.(io.Closer); ok {
		c.Close()
	}
	o.cancel()
}

// Service is s for pluginv1.RegisterPluginServer.
func (s *Server) Service() pb.PluginServer { return &service{Server: s} }

func (s *Server) find(kind, typ string) (framework.Descriptor, bool) {
	for _, d := range s.Types {
		if string(d.Kind) == kind && d.Type == typ {
			return d, true
		}
	}
	return framework.Descriptor{}, false
}

// instance finds an instance by its handle.
func (s *Server) instance(handle uint32) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.instances[handle]; o != nil {
		return o.value, nil
	}
	return nil, framework.Classed(framework.ErrUnavailable, fmt.Errorf("no instance %d", handle))
}

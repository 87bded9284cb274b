// Package api is the controller: it binds the listeners that the configuration
// names and serves package rest on them, with the metrics beside it. What it
// needs of the kernel is declared in rest and metrics; it starts nothing else.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/api/metrics"
	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
)

// Config says where the controller listens. An empty address is no listener.
// It is read once, at start; later documents do not change it.
type Config struct {
	Listen      string // external-controller, host:port
	ListenTLS   string // external-controller-tls, host:port
	Certificate string // PEM, or the path of a file; with PrivateKey empty too, a pair is made
	PrivateKey  string
	Unix        string // external-controller-unix, a path, relative to Home; asks for no secret
	Metrics     string // metrics.listen, host:port: GET /metrics only, asks for no secret

	Secret          framework.Secret
	CORS            rest.CORS
	UI              string // external-ui, a directory, relative to Home
	Home            string
	SafePaths       []string
	Name            string // "culvert" when empty
	Version         string
	Debug           bool // log-level was debug at start: serve /debug
	Limits          rest.Limits
	ShutdownTimeout time.Duration // for answers under way when Close is called; 2 s when 0
}

// The keys of listeners, as ListenError and Address name them.
const (
	KeyController = "external-controller"
	KeyTLS        = "external-controller-tls"
	KeyUnix       = "external-controller-unix"
	KeyMetrics    = "metrics.listen"
)

// ListenError is a listener that could not be made; the others serve.
type ListenError struct {
	Key  string // the configuration's key
	Addr string
	Err  error
}

func (e *ListenError) Error() string { return fmt.Sprintf("%s: %v", e.Key, e.Err) }
func (e *ListenError) Unwrap() error { return e.Err }

// Address is where a listener listens.
type Address struct {
	Key  string
	Addr net.Addr
}

// Server is the controller. Make it with New, Start it once, Close it.
type Server struct {
	cfg     Config
	log     *slog.Logger
	rest    *rest.API
	metrics http.Handler

	mu      sync.Mutex // guards all below
	closed  bool
	servers []*http.Server
	addrs   []Address
	wg      sync.WaitGroup // one for each listener's goroutine
}

// New makes a controller over k. It touches no network and no file.
func New(cfg Config, k rest.Kernel, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.Default()
	}
	scrape := metrics.Handler(metrics.Config{
		Stats: k.Stats, Version: cfg.Version, Log: log,
		Rules:   func() []metrics.Rule { return ruleCounts(k.Rules) },
		Nodes:   func() []metrics.Node { return nodes(k.Proxies) },
		Plugins: func() []metrics.Plugin { return processes(k.Plugins) },
	})
	a, err := rest.New(rest.Config{
		Name: cfg.Name, Version: cfg.Version, Secret: cfg.Secret, CORS: cfg.CORS,
		Home: cfg.Home, SafePaths: cfg.SafePaths,
		UI: under(cfg.Home, cfg.UI), Metrics: scrape, Debug: cfg.Debug, Limits: cfg.Limits,
	}, k, log)
	if err != nil {
		return nil, err
	}
	if cfg.ShutdownTimeout <= 0 {
		cfg.ShutdownTimeout = 2 * time.Second
	}
	return &Server{cfg: cfg, log: log, rest: a, metrics: scrape}, nil
}

// processes are the plugin processes for a scrape.
func processes(p rest.Plugins) []metrics.Plugin {
	if p == nil {
		return nil
	}
	var list []metrics.Plugin
	for _, s := range p.Plugins() {
		list = append(list, metrics.Plugin{Origin: s.Name, State: s.State, Restarts: s.Restarts})
	}
	return list
}

// nodes are the proxies and groups as the metrics show them.
func nodes(p rest.Proxies) []metrics.Node {
	proxies := p.Proxies()
	list := make([]metrics.Node, len(proxies))
	for i, p := range proxies {
		n := metrics.Node{Name: p.Name, Type: p.Type, Group: p.Group != nil, Tested: len(p.History) > 0, Alive: p.Alive}
		if n.Tested {
			n.Delay = time.Duration(p.History[len(p.History)-1].DelayMS) * time.Millisecond
		}
		if n.Group {
			n.Picks = p.Group.Picks
		}
		list[i] = n
	}
	return list
}

// ruleCounts are the rules as the metrics show them.
func ruleCounts(r rest.Rules) []metrics.Rule {
	rules := r.Rules()
	counts := make([]metrics.Rule, len(rules))
	for i, rule := range rules {
		counts[i] = metrics.Rule{Type: rule.Type, Payload: rule.Payload, Target: rule.Target, Hits: rule.Hits}
	}
	return counts
}

// Start binds the listeners and serves on them until Close; ctx bounds the
// binding only. The error joins a *ListenError for each listener that could
// not be made; the others serve nevertheless.
func (s *Server) Start(ctx context.Context) error {
	plans := []struct {
		key, addr string
		listen    func(ctx context.Context, addr string) (net.Listener, error)
		handler   func() http.Handler
	}{
		{KeyController, s.cfg.Listen, listenTCP, s.rest.Handler},
		{KeyTLS, s.cfg.ListenTLS, s.listenTLS, s.rest.Handler},
		{KeyUnix, under(s.cfg.Home, s.cfg.Unix), listenUnix, s.rest.OpenHandler},
		{KeyMetrics, s.cfg.Metrics, listenTCP, s.metricsOnly},
	}
	var errs []error
	for _, p := range plans {
		if p.addr == "" {
			continue
		}
		l, err := p.listen(ctx, p.addr)
		if err == nil {
			err = s.serve(p.key, l, p.handler())
		}
		if err != nil {
			errs = append(errs, &ListenError{p.key, p.addr, err})
		}
	}
	return errors.Join(errs...)
}

// metricsOnly serves GET /metrics and nothing else.
func (s *Server) metricsOnly() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics)
	return mux
}

// The limits of connections. Chosen: a request of a person's tools fits well,
// and a client that dribbles is gone in seconds.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// serve takes ownership of l.
func (s *Server) serve(key string, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // clients' mistakes: handshakes, resets
	}
	if key == KeyTLS {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return net.ErrClosed
	}
	s.servers = append(s.servers, srv)
	s.addrs = append(s.addrs, Address{key, l.Addr()})
	s.wg.Add(1)
	go func() { // ends with the listener, in Close
		defer s.wg.Done()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("controller listener ended", "key", key, "err", err)
		}
	}()
	return nil
}

// Addrs are the addresses of the listeners that serve, in a fixed order.
func (s *Server) Addrs() []Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Address(nil), s.addrs...)
}

// Close ends streams at once, gives other answers a moment to finish, and
// returns when all goroutines ended. It may be called twice.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	servers := s.servers
	s.servers = nil
	s.mu.Unlock()
	err := s.rest.Close()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ShutdownTimeout)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(ctx) != nil {
			err = errors.Join(err, srv.Close())
		}
	}
	s.wg.Wait()
	return err
}

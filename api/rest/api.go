package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Config is what the API is told at start and keeps for its life.
type Config struct {
	Name    string           // GET / says hello with it
	Version string           // GET /version; must contain neither "sing-box" nor "honk"
	Secret  framework.Secret // "" for no authentication
	CORS    CORS

	Home      string   // PUT /configs takes files under it
	SafePaths []string // and under these

	UI      string       // a directory served under /ui, "" for none
	Metrics http.Handler // GET /metrics, nil for none
	Debug   bool         // serve /debug, without the secret
	Limits  Limits
}

// Limits bound what a client may cost. Zero values stand for the defaults.
type Limits struct {
	Body         int64         // bytes of a request body; 1 MiB
	Document     int64         // bytes of the body of PUT /configs; 32 MiB
	ReadBody     time.Duration // for a body to arrive; 30 s
	WriteStream  time.Duration // for a client to take one message of a stream; 10 s
	Streams      int           // at once, WebSockets and plain ones; 512
	ReadMessages int64         // bytes of one incoming WebSocket message; 64 KiB
}

func (l Limits) orDefaults() Limits {
	or := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	or(&l.Body, 1<<20)
	or(&l.Document, 32<<20)
	or((*int64)(&l.ReadBody), int64(30*time.Second))
	or((*int64)(&l.WriteStream), int64(10*time.Second))
	or(&l.ReadMessages, 64<<10)
	if l.Streams <= 0 {
		l.Streams = 512
	}
	return l
}

// API answers requests. Make it with New; Close it after the listeners.
type API struct {
	Kernel
	cfg Config
	log *slog.Logger

	ctx     context.Context // ends at Close; streams and tests hang on it
	stop    context.CancelFunc
	mu      sync.Mutex // guards closed, open
	closed  bool
	open    int            // streams
	streams sync.WaitGroup // goroutines of streams and feeds

	traffic   *feed
	memory    *feed
	flowLists flowFeeds
}

// New makes an API over k. It starts nothing.
func New(cfg Config, k Kernel, log *slog.Logger) (*API, error) {
	if k.Stats == nil || k.Logs == nil || k.Configs == nil || k.Applier == nil || k.Proxies == nil || k.Selector == nil || k.Rules == nil {
		return nil, errors.New("the API needs Stats, Logs, Configs, Applier, Proxies, Selector and Rules")
	}
	cfg.Limits = cfg.Limits.orDefaults()
	if cfg.Name == "" {
		cfg.Name = "culvert"
	}
	a := &API{Kernel: k, cfg: cfg, log: log}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.traffic = newFeed(a.ctx, &a.streams, time.Second, a.trafficEncoder)
	a.memory = newFeed(a.ctx, &a.streams, time.Second, memoryEncoder)
	a.flowLists.open = func(every time.Duration) *feed {
		return newFeed(a.ctx, &a.streams, every, func() encoder { return a.appendFlows })
	}
	return a, nil
}

// Close ends all streams and tests, and returns when the streams' goroutines
// ended. It may be called twice.
func (a *API) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stop()
	a.streams.Wait()
	return nil
}

// trackStream takes a place among the open streams; ok is false when there is
// none or the API is closed. The caller calls release, once.
func (a *API) trackStream() (release func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.open >= a.cfg.Limits.Streams {
		return nil, false
	}
	a.open++
	a.streams.Add(1)
	return func() {
		a.mu.Lock()
		a.open--
		a.mu.Unlock()
		a.streams.Done()
	}, true
}

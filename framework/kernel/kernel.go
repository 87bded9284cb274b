// Package kernel keeps a configuration in force: it checks a document, builds
// what is new, binds new listeners, publishes a snapshot for flows to read, and
// lets what is gone drain. What did not change in a document is the same object
// after an apply: its sockets, flows and choices stay. It carries no flow
// itself: that is dispatch's.
package kernel

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/geo"
	"github.com/culvert-proxy/culvert/framework/health"
	"github.com/culvert-proxy/culvert/framework/relay"
	"github.com/culvert-proxy/culvert/framework/session"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/framework/store"
)

// Catalog finds plugin types; *registry.Registry is one.
type Catalog interface {
	Lookup(framework.Kind, string) (framework.Descriptor, bool)
}

// Config is what a Kernel is made from.
type Config struct {
	Home    string // the home directory, absolute
	Catalog Catalog
	Stats   *stats.Stats
	Log     *slog.Logger
	Level   *slog.LevelVar // follows log-level
	Store   *store.Store   // nil keeps nothing
	Plugins Plugins        // nil starts no plugin processes
	// Drain is how long flows may stay on what was taken out: 0 is 5 minutes.
	Drain time.Duration
	// TestRoots vouch for the https targets of delay tests; nil is the system's.
	TestRoots *x509.CertPool
}

// Kernel is the program without its plugins. Its methods are safe for
// concurrent use.
type Kernel struct {
	Config
	dispatcher *dispatch.Dispatcher
	relay      *relay.Relay
	sockets    sockets
	admission  admission
	dials      dialer.Settings
	general    atomic.Pointer[General] // the settings in force
	state      atomic.Pointer[State]
	tester     *health.Tester
	results    atomic.Pointer[map[string]*health.Node] // by name, of all outbounds and groups

	geo       *geo.Data
	processes processes

	ctx    context.Context // ends when Close cuts what is left
	cancel context.CancelFunc

	loaded loaded
	queue  queue // documents that wait for mu

	mu       sync.Mutex // guards all below; held for a whole apply
	nodes    map[string]*instance
	inbounds map[string]*inbound
	closed   bool
	tasks    sync.WaitGroup // drains and inbounds that are closing
}

// State is what is in force beside what flows look at. It is not written once
// published.
type State struct {
	Document *configs.Document
	Warnings conf.Problems // of the document and of what it names
	General  General
	Names    []string // the members of GLOBAL, in order
	Nodes    map[string]Info
	ports    map[string]bool // the top-level ports that could be bound, by inbound name
	plan     *plan
}

// Info is what the configuration says of an outbound or group.
type Info struct {
	Proxy configs.ProxyCommon
	Group *configs.GroupCommon // nil for an outbound
	ID    string               // a UUID, stable for the life of the instance; "" for a group

	Health   *health.Node    // what tests of it found
	TestURL  string          // of a group: with which its members are tested
	Expected health.Statuses // of a group: those of a good test
}

// instance is a built outbound or group.
type instance struct {
	key
	node   *dispatch.Node
	id     string
	health *health.Node // what tests of it found

	members *memberView   // of a group
	group   *watched      // of a group
	watch   *health.Watch // of a group whose members are tested
}

// New makes a Kernel that has nothing in force and listens nowhere.
func New(c Config) *Kernel {
	c.Drain = cmp.Or(c.Drain, 5*time.Minute)
	k := &Kernel{Config: c, relay: relay.New(relay.Config{}), tester: health.New(c.TestRoots), nodes: map[string]*instance{}, inbounds: map[string]*inbound{}}
	k.geo, k.processes.k = geo.New(c.Home), k
	k.dispatcher = dispatch.New(c.Stats, c.Log, k.relay, session.New(session.Config{}))
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.admission.rules.Store(newAdmissionRules(nil, nil, nil, nil))
	return k
}

// State is what is in force; nil before the first apply.
func (k *Kernel) State() *State { return k.state.Load() }

// Snapshot is what flows look at; nil before the first apply.
func (k *Kernel) Snapshot() *dispatch.Snapshot { return k.dispatcher.Snapshot() }

// Through is a Dialer over the outbound or group called name.
func (k *Kernel) Through(name string) framework.Dialer { return k.dispatcher.Through(name) }

// Check finds the problems of a document, warnings included, and builds
// nothing. It runs the document's plugins for as long as it takes.
func (k *Kernel) Check(doc *configs.Document) conf.Problems {
	var p conf.Problems
	err := k.withPlugins(context.Background(), doc, false, func() error {
		p = k.check(doc).problems
		return nil
	})
	var failed conf.Problems
	if errors.As(err, &failed) {
		p = append(slices.Clone(doc.Warnings), failed...)
	}
	return p
}

// Close stops accepting, gives open flows until ctx ends, and then cuts them.
// It returns when nothing is left, and may be called twice.
func (k *Kernel) Close(ctx context.Context) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	k.closed = true
	for _, in := range k.inbounds {
		k.stopInbound(in)
	}
	clear(k.inbounds)
	k.mu.Unlock()

	k.drainFlows(ctx)
	k.cancel()
	for _, inst := range k.nodes {
		k.stopTests(inst)
		inst.node.Lease.Retire(func() { closeNode(inst.node) })
	}
	k.tasks.Wait()
	k.relay.Close()
}

// drainFlows waits until no flow is open; when ctx ends it kills those left.
func (k *Kernel) drainFlows(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for k.Stats.OpenFlows() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, f := range k.Stats.Flows(nil) {
				f.Kill()
			}
			return
		}
	}
}

func closeNode(n *dispatch.Node) {
	for _, v := range []any{n.Outbound, n.Group} {
		if c, ok := v.(io.Closer); ok {
			c.Close()
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

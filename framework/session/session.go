// Package session carries UDP: it keeps, for each source, a route per
// destination and a PacketConn per outbound, and moves datagrams between them
// and a PacketServer. Rules hold for every destination, since each is routed on
// its own, and full-cone NAT holds, since all routes of a source through one
// outbound share a socket. Where packets go is the Router's business.
package session

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// Router decides where a new pair of source and destination goes. It may block:
// for names, rules, dials. It is called from many goroutines. An error makes
// the pair drop packets for Config.Backoff, then it is asked again.
type Router interface {
	Route(ctx context.Context, f *framework.Flow) (Route, error)
}

// Route is a Router's answer. The session owns it from then on: it counts in
// Flow, closes it, and calls Release once when the route is gone.
type Route struct {
	// Outbound is a comparable identity of the exit instance. Routes of one
	// source with equal values share one PacketConn.
	Outbound any
	// Dial opens that PacketConn; it is called by the first of these routes,
	// again only after the PacketConn has failed, and ends with its context.
	Dial func(ctx context.Context) (framework.PacketConn, error)
	// To is what the outbound is told: the destination, or an address that it
	// resolved to.
	To framework.Addr
	// Flow is open in stats already; nil only with Drop.
	Flow *stats.Flow
	// Killer is what Flow was opened with, or nil when nobody may kill it.
	Killer *Killer
	// Drop swallows the packets without a word; only Flow and Release count.
	Drop bool
	// Release, when not nil, is called once, with no lock held.
	Release func()
}

// Config bounds a Table. The zero value is the default, field by field.
type Config struct {
	// Idle is how long a route lives without a packet either way: 0 is 60 s.
	// Times are kept in whole ticks of a second, so it may live one longer.
	Idle time.Duration
	// DNSIdle replaces Idle for a destination at port 53 that has answered and
	// was not asked again: 0 is 5 s.
	DNSIdle time.Duration
	// Backoff is how long a route that failed drops packets: 0 is 1 s.
	Backoff time.Duration
	// DropFor is how long a Drop lasts before the Router is asked again: 0 is
	// 10 s.
	DropFor time.Duration
	// MaxSessions is how many sources there may be: 0 is 16,384. A full table
	// gives up the session that was idle longest.
	MaxSessions int
	// MaxRoutes is how many routes there may be in all: 0 is 65,536. A full
	// table gives up the longest idle route of the longest idle session.
	MaxRoutes int
	// MaxSessionRoutes is how many routes one source may have: 0 is 4,096. It
	// gives up its own longest idle route.
	MaxSessionRoutes int
	// MaxPending is how many routes may be under decision at once: 0 is 1,024.
	// Packets that would need another are dropped.
	MaxPending int
}

func (c Config) withDefaults() Config {
	// Chosen: mihomo's and most NAT devices' minute for Idle, the others so
	// that a scan of ports cannot take the machine's memory or descriptors.
	orDuration := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	orInt := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	orDuration(&c.Idle, 60*time.Second)
	orDuration(&c.DNSIdle, 5*time.Second)
	orDuration(&c.Backoff, time.Second)
	orDuration(&c.DropFor, 10*time.Second)
	orInt(&c.MaxSessions, 16<<10)
	orInt(&c.MaxRoutes, 64<<10)
	orInt(&c.MaxSessionRoutes, 4<<10)
	orInt(&c.MaxPending, 1<<10)
	return c
}

// Counts is what a Table has counted since it was made; the first three are
// what there is at the moment.
type Counts struct {
	Sessions, Routes, Pending int64

	DroppedPending uint64 // packets: too many routes under decision
	DroppedQueue   uint64 // packets: too many waited for one decision
	DroppedFailed  uint64 // packets: their route had failed a moment ago
	DroppedPolicy  uint64 // packets: their route says Drop
	FailedWrites   uint64 // packets: the outbound or the inbound did not take them
	FailedRoutes   uint64 // routes: no decision, or no PacketConn
	Evicted        uint64 // routes: gave way in a full table
	Expired        uint64 // routes: idle
}

// Table holds the sessions of all packet servers. Its methods are safe for
// concurrent use.
type Table struct {
	Config
	buffers sync.Pool // of *[maxPacket]byte

	start time.Time
	now   atomic.Int64  // time since start in ns, as of the last tick or new route
	wake  chan struct{} // tells the sweeper that there is a route; holds one

	mu      sync.Mutex // guards servers, sweeping
	servers map[*server]struct{}
	swept   chan struct{} // closed when the sweeper has ended; nil when none runs
	stop    chan struct{} // ends the sweeper

	sessions, routes, pending                                  atomic.Int64
	droppedPending, droppedQueue, droppedFailed, droppedPolicy atomic.Uint64
	failedWrites, failedRoutes, evicted, expired               atomic.Uint64
}

// maxPacket is the longest datagram: 65,535 bytes less IP and UDP headers fit.
const maxPacket = 64 << 10

// New makes an empty Table. It has no goroutine while it serves nothing.
func New(c Config) *Table {
	t := &Table{Config: c.withDefaults(), start: time.Now(), wake: make(chan struct{}, 1), servers: map[*server]struct{}{}}
	t.buffers.New = func() any { return new([maxPacket]byte) }
	return t
}

// Counts reads the counters.
func (t *Table) Counts() Counts {
	return Counts{
		Sessions: t.sessions.Load(), Routes: t.routes.Load(), Pending: t.pending.Load(),
		DroppedPending: t.droppedPending.Load(), DroppedQueue: t.droppedQueue.Load(),
		DroppedFailed: t.droppedFailed.Load(), DroppedPolicy: t.droppedPolicy.Load(),
		FailedWrites: t.failedWrites.Load(), FailedRoutes: t.failedRoutes.Load(),
		Evicted: t.evicted.Load(), Expired: t.expired.Load(),
	}
}

// Serve reads s and carries its packets until s fails or ctx ends, which it
// returns; o says how they came in. Then it closes s, ends every session that
// s had and returns when their goroutines did.
func (t *Table) Serve(ctx context.Context, s framework.PacketServer, o framework.Origin, r Router) error {
	ctx, cancel := context.WithCancel(ctx)
	sv := &server{table: t, ps: s, origin: o, router: r, ctx: ctx, sessions: map[netip.AddrPort]*session{}}
	sv.order.Init()
	t.enter(sv)
	defer t.leave(sv)

	unhook := context.AfterFunc(ctx, func() { s.Close() })
	err := sv.read()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	unhook()
	s.Close()
	cancel()
	sv.shut()
	return err
}

// enter adds a server and starts the sweeper with the first.
func (t *Table) enter(sv *server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.servers[sv] = struct{}{}
	if len(t.servers) == 1 {
		t.swept, t.stop = make(chan struct{}), make(chan struct{})
		go t.sweep(t.stop, t.swept)
	}
}

// leave takes a server out and waits for the sweeper after the last.
func (t *Table) leave(sv *server) {
	t.mu.Lock()
	delete(t.servers, sv)
	swept := t.swept
	last := len(t.servers) == 0
	if last {
		close(t.stop)
	}
	t.mu.Unlock()
	if last {
		<-swept
	}
}

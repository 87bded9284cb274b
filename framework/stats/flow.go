package stats

import (
	"encoding/hex"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Flow is one open flow: what is known of it, fixed when it opens, and its
// bytes, counted while they move. One allocation serves it all.
type Flow struct {
	framework.Flow
	Info
	Start time.Time

	// Up and Down are the bytes from and to the client.
	Up, Down atomic.Uint64

	// Static is where a reader may keep its encoding of the fixed part.
	Static atomic.Pointer[[]byte]

	stats      *Stats
	serial     uint64
	killed     atomic.Bool
	kill       Killer
	next, prev *Flow // in the shard's ring
}

// Info is what the kernel found out before the flow opened.
type Info struct {
	Chain         []string // exit first, outermost group last; not empty
	Providers     []string // beside Chain: the provider of each, or ""; nil for all ""
	Rule          string   // the rule type as the REST API spells it, "" when no rule decided
	Payload       string
	DestinationIP netip.Addr // when known, resolved or given
	RemoteIP      netip.Addr // the peer that was dialled
	DNSMode       string     // "normal" "fake-ip" "redir-host" "hosts"
	SniffHost     string
	Process       string
	ProcessPath   string
	UID           uint32
	SpecialProxy  string
	SpecialRules  string
}

// Killer ends a flow from outside. It must not block and may be called twice.
type Killer interface{ Kill() }

// Open enters a flow into the table. The caller fills f's exported fields
// before and calls Close when the flow has ended.
func (s *Stats) Open(f *Flow, k Killer) {
	f.stats, f.kill = s, k
	f.serial = s.serial.Add(1)
	if f.Start.IsZero() {
		f.Start = time.Now()
	}
	sh := s.shard(f.serial)
	sh.mu.Lock()
	f.prev, f.next = sh.ring.prev, &sh.ring
	f.prev.next, f.next.prev = f, f
	sh.open++
	sh.mu.Unlock()
}

// Close takes f out of the table and adds it to the totals. reason is "" for a
// flow that ended in order, else the class of its error. Once.
func (f *Flow) Close(reason string) {
	if f.killed.Load() {
		reason = "killed"
	} else if reason == "" {
		reason = "ok"
	}
	s, sh := f.stats, f.stats.shard(f.serial)
	sh.mu.Lock()
	f.prev.next, f.next.prev = f.next, f.prev
	sh.open--
	b := sh.closed[f.Chain[0]]
	if b == nil {
		b = new(bytes)
		sh.closed[f.Chain[0]] = b
	}
	b.up += f.Up.Load()
	b.down += f.Down.Load()
	sh.mu.Unlock()
	s.flows.get(FlowLabels{f.Network.String(), f.Inbound.Name, f.Chain[0], reason}).Add(1)
}

// Kill ends the flow from outside; its owner then calls Close.
func (f *Flow) Kill() {
	if !f.killed.Swap(true) && f.kill != nil {
		f.kill.Kill()
	}
}

// Killer is what Open was given.
func (f *Flow) Killer() Killer { return f.kill }

// Killed says whether Kill was called.
func (f *Flow) Killed() bool { return f.killed.Load() }

// ID is the flow's id, unique over runs.
func (f *Flow) ID() [16]byte { return f.stats.id(f.serial) }

// IDText is the id in the form of a UUID, as the REST API shows it.
func (f *Flow) IDText() string {
	id := f.ID()
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Flows appends the open flows to buf, in no particular order.
func (s *Stats) Flows(buf []*Flow) []*Flow {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for f := sh.ring.next; f != &sh.ring; f = f.next {
			buf = append(buf, f)
		}
		sh.mu.Unlock()
	}
	return buf
}

// OpenFlows is the number of open flows.
func (s *Stats) OpenFlows() (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n += sh.open
		sh.mu.Unlock()
	}
	return n
}

// Bytes are the bytes from and to clients since the start, open flows
// included. They never decrease.
func (s *Stats) Bytes() (up, down uint64) {
	for _, b := range s.ByOutbound() {
		up += b[0]
		down += b[1]
	}
	return up, down
}

// ByOutbound are the bytes up and down by the name of the exit outbound.
func (s *Stats) ByOutbound() map[string][2]uint64 {
	sum := map[string][2]uint64{}
	add := func(name string, up, down uint64) {
		b := sum[name]
		sum[name] = [2]uint64{b[0] + up, b[1] + down}
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for name, b := range sh.closed {
			add(name, b.up, b.down)
		}
		for f := sh.ring.next; f != &sh.ring; f = f.next {
			add(f.Chain[0], f.Up.Load(), f.Down.Load())
		}
		sh.mu.Unlock()
	}
	return sum
}

type bytes struct{ up, down uint64 }

// shard holds a part of the open flows in a ring, and the bytes of those that
// closed: under one lock, so that a sum never misses or doubles a flow.
type shard struct {
	mu     sync.Mutex // guards all below
	ring   Flow       // the ring's fixed point
	open   int
	closed map[string]*bytes
	_      [64]byte // keep shards on lines of their own
}

func (sh *shard) init() {
	sh.ring.next, sh.ring.prev = &sh.ring, &sh.ring
	sh.closed = map[string]*bytes{}
}

func (s *Stats) shard(serial uint64) *shard { return &s.shards[serial&uint64(len(s.shards)-1)] }

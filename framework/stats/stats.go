// Package stats keeps what is counted: open flows and their bytes, totals by
// label, dial times, rule hits. Writers touch plain atomics; readers (the REST
// API, the metrics collector) take sums when they ask. It knows nothing of
// Prometheus and forgets nothing on reload.
package stats

import (
	"crypto/rand"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is the whole of the counters; the kernel makes one and keeps it for
// the life of the process. All methods are safe for concurrent use.
type Stats struct {
	Started time.Time

	shards []shard
	serial atomic.Uint64
	prefix [8]byte // random: flow ids of two runs differ

	flows   family[FlowLabels]
	dials   histograms
	plugins family[PluginLabels]
	Applies Applies
}

// FlowLabels are the labels of a finished flow.
type FlowLabels struct {
	Network, Inbound, Outbound, Reason string
}

// PluginLabels name a counter that an instance adds to through Host.Count.
type PluginLabels struct {
	Metric, Kind, Type, Name string
}

// Applies counts how often a configuration was put in force.
type Applies struct {
	OK, Failed  atomic.Uint64
	LastSuccess atomic.Int64 // Unix seconds, 0 before the first
}

// New makes an empty Stats.
func New() *Stats {
	n := 1
	for n < 4*runtime.GOMAXPROCS(0) {
		n *= 2
	}
	s := &Stats{Started: time.Now(), shards: make([]shard, n)}
	rand.Read(s.prefix[:]) // never fails
	for i := range s.shards {
		s.shards[i].init()
	}
	return s
}

// CountPlugin adds n to an instance's own counter.
func (s *Stats) CountPlugin(l PluginLabels, n uint64) { s.plugins.get(l).Add(n) }

// PluginCounts calls f with each plugin counter.
func (s *Stats) PluginCounts(f func(PluginLabels, uint64)) { s.plugins.each(f) }

// FinishedFlows calls f with the number of ended flows by labels.
func (s *Stats) FinishedFlows(f func(FlowLabels, uint64)) { s.flows.each(f) }

// Refused counts a flow that never opened: its dial failed, or policy or a
// limit refused it.
func (s *Stats) Refused(l FlowLabels) { s.flows.get(l).Add(1) }

func (s *Stats) id(serial uint64) (id [16]byte) {
	copy(id[:8], s.prefix[:])
	binary.BigEndian.PutUint64(id[8:], serial*0x9e3779b97f4a7c15) // spread: ids look unlike each other
	id[6] = id[6]&0x0f | 0x40                                     // version 4, RFC 9562
	id[8] = id[8]&0x3f | 0x80
	return id
}

// family is a set of counters by label. Labels come from the configuration, so
// the set stays small.
type family[L comparable] struct {
	mu sync.RWMutex // guards m
	m  map[L]*atomic.Uint64
}

func (f *family[L]) get(l L) *atomic.Uint64 {
	f.mu.RLock()
	c := f.m[l]
	f.mu.RUnlock()
	if c != nil {
		return c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c = f.m[l]; c == nil {
		if f.m == nil {
			f.m = map[L]*atomic.Uint64{}
		}
		c = new(atomic.Uint64)
		f.m[l] = c
	}
	return c
}

func (f *family[L]) each(fn func(L, uint64)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for l, c := range f.m {
		fn(l, c.Load())
	}
}

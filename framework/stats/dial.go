package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// DialBuckets are the upper bounds of the dial time histogram, in seconds.
// Chosen: loopback to a slow intercontinental chain.
var DialBuckets = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// Histogram counts durations by bucket.
type Histogram struct {
	buckets [len(DialBuckets) + 1]atomic.Uint64
	nanos   atomic.Uint64
}

// Observe adds one duration.
func (h *Histogram) Observe(d time.Duration) {
	s, i := d.Seconds(), 0
	for i < len(DialBuckets) && s > DialBuckets[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.nanos.Add(uint64(d))
}

// Read is the count, the sum in seconds, and the cumulative count at each
// bound of DialBuckets.
func (h *Histogram) Read() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(DialBuckets))
	for i, le := range DialBuckets {
		count += h.buckets[i].Load()
		buckets[le] = count
	}
	count += h.buckets[len(DialBuckets)].Load()
	return count, time.Duration(h.nanos.Load()).Seconds(), buckets
}

// histograms are the dial times by outbound type.
type histograms struct {
	mu sync.RWMutex // guards m
	m  map[string]*Histogram
}

// Dial is the histogram of dial times of an outbound type. The caller keeps it.
func (s *Stats) Dial(outboundType string) *Histogram {
	s.dials.mu.Lock()
	defer s.dials.mu.Unlock()
	h := s.dials.m[outboundType]
	if h == nil {
		if s.dials.m == nil {
			s.dials.m = map[string]*Histogram{}
		}
		h = new(Histogram)
		s.dials.m[outboundType] = h
	}
	return h
}

// Dials calls f with each histogram.
func (s *Stats) Dials(f func(outboundType string, h *Histogram)) {
	s.dials.mu.RLock()
	defer s.dials.mu.RUnlock()
	for t, h := range s.dials.m {
		f(t, h)
	}
}

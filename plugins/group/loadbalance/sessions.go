package loadbalance

import (
	"sync"
	"time"
)

// The sizes of mihomo's adapter/outboundgroup/loadbalance.go.
const (
	maxSessions = 1000
	sessionIdle = 10 * time.Minute
)

// sessions remembers the members that sessions use: the last ones that were
// asked for. Its entries are a ring in the order of use, in one array.
type sessions struct {
	mu      sync.Mutex // guards all below
	at      map[uint64]int32
	entries [maxSessions + 1]session // 0 is the end of the ring: next is the newest, prev the oldest
}

type session struct {
	key        uint64
	member     string
	used       time.Time
	prev, next int32
}

func newSessions() *sessions { return &sessions{at: make(map[uint64]int32)} }

// get is the member of a session that was used lately.
func (s *sessions) get(key uint64) (member string, ok bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.at[key]
	if !ok || now.Sub(s.entries[i].used) > sessionIdle {
		return "", false
	}
	s.entries[i].used = now
	s.toFront(i)
	return s.entries[i].member, true
}

// put remembers a session, and forgets the one unused for the longest when
// there are too many.
func (s *sessions) put(key uint64, member string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.at[key]
	switch {
	case ok:
	case len(s.at) < maxSessions:
		i = int32(len(s.at) + 1)
		s.entries[i].prev, s.entries[i].next = i, i
	default:
		i = s.entries[0].prev
		delete(s.at, s.entries[i].key)
	}
	s.at[key] = i
	s.entries[i].key, s.entries[i].member, s.entries[i].used = key, member, now
	s.toFront(i)
}

func (s *sessions) toFront(i int32) {
	e := &s.entries[i]
	s.entries[e.prev].next, s.entries[e.next].prev = e.next, e.prev
	e.prev, e.next = 0, s.entries[0].next
	s.entries[e.next].prev, s.entries[0].next = i, i
}

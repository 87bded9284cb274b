package dialer

import (
	"sync/atomic"
	"time"
)

// Global is what holds for all sockets of the process.
type Global struct {
	Interface  string // of outbounds that name none
	Mark       int    // of outbounds that have none
	IPv6       bool   // the master switch: false dials no IPv6 address at all
	Concurrent bool   // dial all addresses of a name at once

	KeepAliveIdle     time.Duration // before the first probe; 0 is Go's 15 s
	KeepAliveInterval time.Duration // between probes; 0 is Go's 15 s
	KeepAliveOff      bool
}

// DefaultGlobal is what an empty configuration means.
func DefaultGlobal() Global { return Global{IPv6: true} }

// Settings holds the Global in force. The kernel owns it and changes it while
// dialers run; a dial that has begun keeps what it began with. The zero value
// holds DefaultGlobal.
type Settings struct{ p atomic.Pointer[Global] }

// Store puts g in force.
func (s *Settings) Store(g Global) { s.p.Store(&g) }

// Load is the Global in force, not to be changed. The pointer is the same
// until the next Store.
func (s *Settings) Load() *Global {
	if g := s.p.Load(); g != nil {
		return g
	}
	g := DefaultGlobal()
	s.p.CompareAndSwap(nil, &g)
	return s.p.Load()
}

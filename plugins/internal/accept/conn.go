package accept

import (
	"net"
	"net/netip"
	"time"
)

// Conn is an accepted connection that its protocol serves. It is in one of
// three states, which say what Server.Close and the limit may do to it:
//
//	          ┌────────── Wait ──────────┐
//	accept → waiting ──── Busy ────────→ busy → end
//	          └────────── Hold ────────→ held → end
//
// Waiting (for a handshake or a next request): has a time limit, may be cut by
// the limit and, unless it is the first handshake, by Close, which waits for its
// goroutine to end. Busy (a flow
// goes through it): lives on after Close. Held (open as a sign of life only):
// no deadline, cut by Close. The methods are for the serving goroutine.
type Conn struct {
	conn   net.Conn
	source netip.AddrPort
	local  netip.AddrPort
	server *Server

	// Guarded by server.mu; ring is nil when busy.
	ring, prev, next *Conn
	until            time.Time // the time limit, while waiting
	begun            bool      // was busy once: what it waits for is no first handshake
	dated            bool      // conn has a deadline
}

// Raw is the connection itself: *net.TCPConn, or *tls.Conn with TLS.
func (c *Conn) Raw() net.Conn { return c.conn }

// Source is the client's address, unmapped.
func (c *Conn) Source() netip.AddrPort { return c.source }

// Local is the inbound's address as the client reached it, unmapped.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Wait makes c waiting for at most d from this moment. False says that the
// server is closed and c is to end.
func (c *Conn) Wait(d time.Duration) bool {
	return c.server.move(c, &c.server.waiting, time.Now().Add(d))
}

// Busy ends waiting and its time limit. False says that the server was
// closed before and c is to end; a first handshake ends in order all the same.
func (c *Conn) Busy() bool { return c.server.move(c, nil, time.Time{}) }

// Hold is Busy for a connection that Close may cut.
func (c *Conn) Hold() bool { return c.server.move(c, &c.server.held, time.Time{}) }

// cut is a deadline in the past: reads and writes end, and the goroutine that
// serves the connection closes it.
var cut = time.Unix(1, 0)

// end gives c a deadline; the caller holds mu.
func (c *Conn) end(at time.Time) {
	c.dated = true
	c.conn.SetDeadline(at)
}

// move puts c into ring, nil for none, and says until when it may wait there.
// A deadline that it has is cleared, under the lock so that a cut is not
// undone. It fails when the server is closed. The oldest waiting connection is
// cut when there are too many.
func (s *Server) move(c, ring *Conn, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := ring == nil && !c.begun
	if s.over || s.closed && !first || c.dated && c.conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	c.begun, c.dated, c.until = c.begun || first, false, until
	if ring == &s.waiting {
		s.wind(until)
	}
	if c.ring == ring {
		return true
	}
	s.unlink(c)
	s.link(c, ring)
	s.tell()
	if s.waitingCount > s.limit {
		oldest := s.waiting.next
		s.unlink(oldest)
		s.link(oldest, &s.held) // it stays known until its goroutine ends
		oldest.end(cut)
	}
	return true
}

// tick is how often the clock runs off at least, and grain at most, while
// somebody waits. Chosen: a limit is met within a grain; and with a timer due
// soon, none of those that dials set wakes the thread that waits for events.
const (
	tick  = time.Second
	grain = 50 * time.Millisecond
)

// wind sets the clock to run off at or before at; the caller holds mu. One
// clock for all costs a connection nothing, a deadline two changes of a timer.
func (s *Server) wind(at time.Time) {
	if !s.due.IsZero() && !at.Before(s.due) {
		return
	}
	d := min(time.Until(at), tick)
	s.due = time.Now().Add(d)
	if s.clock == nil {
		s.clock = time.AfterFunc(d, s.expire)
	} else {
		s.clock.Reset(d)
	}
}

// expire cuts who has waited too long, and winds the clock for the others.
func (s *Server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := now.Add(tick)
	some := false
	for c := s.waiting.next; c != &s.waiting; c = c.next {
		switch {
		case c.dated: // ends at that
		case !c.until.After(now):
			c.end(cut)
		default:
			some = true
			if c.until.Before(next) {
				next = c.until
			}
		}
	}
	if s.due = (time.Time{}); some {
		s.wind(later(next, now.Add(grain)))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// link appends c to ring; the caller holds mu.
func (s *Server) link(c, ring *Conn) {
	if ring == nil {
		return
	}
	c.ring, c.prev, c.next = ring, ring.prev, ring
	c.prev.next, ring.prev = c, c
	if ring == &s.waiting {
		s.waitingCount++
	}
}

// unlink takes c out of its ring; the caller holds mu.
func (s *Server) unlink(c *Conn) {
	if c.ring == nil {
		return
	}
	if c.ring == &s.waiting {
		s.waitingCount--
	}
	c.prev.next, c.next.prev = c.next, c.prev
	c.ring, c.prev, c.next = nil, nil, nil
}

// forget takes c out at the end of its goroutine.
func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(c)
	s.tell()
}

// tell wakes Close when it has nobody to wait for any more; the caller holds
// mu.
func (s *Server) tell() {
	if s.closed && s.empty() {
		s.ended.Broadcast()
	}
}

// empty says whether Close has nobody to wait for; the caller holds mu.
func (s *Server) empty() bool {
	return s.waiting.next == &s.waiting && s.held.next == &s.held
}

package session

import (
	"container/list"
	"net/netip"
	"time"
)

// tick is how exact idle times are. Chosen: a second is nothing to a user, and
// a clock that is read once a second costs packets nothing.
const tick = time.Second

// refresh sets the table's clock.
func (t *Table) refresh() { t.now.Store(int64(time.Since(t.start))) }

// sweep removes what has expired, once per tick while there are routes, and
// sleeps otherwise. It ends with stop.
func (t *Table) sweep(stop <-chan struct{}, swept chan<- struct{}) {
	defer close(swept)
	for {
		select {
		case <-t.wake:
		case <-stop:
			return
		}
		if !t.sweepWhileUsed(stop) {
			return
		}
	}
}

// sweepWhileUsed returns true when there are no routes left, false on stop.
func (t *Table) sweepWhileUsed(stop <-chan struct{}) bool {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for t.routes.Load() > 0 {
		select {
		case <-clock.C:
		case <-stop:
			return false
		}
		t.refresh()
		for _, sv := range t.others(nil) {
			sv.expire(t.now.Load())
		}
	}
	return true
}

// others are the servers but one.
func (t *Table) others(but *server) []*server {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*server, 0, len(t.servers))
	for sv := range t.servers {
		if sv != but {
			out = append(out, sv)
		}
	}
	return out
}

// expire removes the routes whose time is over.
func (sv *server) expire(now int64) {
	var out []*route
	n := 0
	sv.mu.Lock()
	for _, s := range sv.sessions {
		for e := s.order.Front(); e != nil; {
			r := e.Value.(*route)
			e = e.Next()
			if !r.over(now) {
				continue
			}
			n++
			if sv.remove(r) {
				out = append(out, r)
			}
		}
	}
	sv.mu.Unlock()
	sv.table.expired.Add(uint64(n))
	for _, r := range out {
		r.finish(nil)
	}
}

// over says whether the route has expired; the caller holds mu.
func (r *route) over(now int64) bool {
	t := r.server.table
	switch r.state {
	case failed, dropping:
		return now >= r.until
	case ready:
		idle := t.Idle
		if r.answered && r.to.Port == 53 {
			idle = t.DNSIdle
		}
		return now-r.use.last >= int64(idle)
	}
	return false // under decision: the dial has a bound of its own
}

// makeRoom evicts what must give way to one more route of source. The caller
// holds no lock.
func (t *Table) makeRoom(sv *server, source netip.AddrPort) {
	out := sv.evict(source)
	if t.full() { // with the sessions of other servers
		for _, other := range t.others(sv) {
			out = append(out, other.evict(netip.AddrPort{})...)
			if !t.full() {
				break
			}
		}
	}
	for _, r := range out {
		r.finish(nil)
	}
}

func (t *Table) full() bool {
	return t.routes.Load() >= int64(t.MaxRoutes) || t.sessions.Load() >= int64(t.MaxSessions)
}

// evict removes routes of this server so that source may have one more, and
// returns them; none when nothing must give way, or this server has none.
func (sv *server) evict(source netip.AddrPort) []*route {
	t := sv.table
	sv.mu.Lock()
	defer sv.mu.Unlock()
	s := sv.sessions[source]
	var out []*route
	switch {
	case s != nil && s.order.Len() >= t.MaxSessionRoutes:
		out = append(out, s.oldest())
	case s == nil && t.sessions.Load() >= int64(t.MaxSessions):
		if old := sv.oldest(); old != nil {
			for e := old.order.Front(); e != nil; e = e.Next() {
				out = append(out, e.Value.(*route))
			}
		}
	case t.routes.Load() >= int64(t.MaxRoutes):
		if old := sv.oldest(); old != nil {
			out = append(out, old.oldest())
		}
	}
	t.evicted.Add(uint64(len(out)))
	return sv.removeAll(out)
}

// oldest is the session that was idle longest, nil when there is none; the
// caller holds mu.
func (sv *server) oldest() *session {
	for e := sv.order.Front(); e != nil; e = sv.order.Front() {
		s := e.Value.(*session)
		if !s.use.moved(&sv.order) {
			return s
		}
	}
	return nil
}

// oldest is the route that was idle longest; the caller holds mu.
func (s *session) oldest() *route {
	for e := s.order.Front(); e != nil; e = s.order.Front() {
		r := e.Value.(*route)
		if !r.use.moved(&s.order) {
			return r
		}
	}
	return nil
}

// moved puts an entry that was used since it got its place at the end of its
// order: packets only note the time, and the order is mended when it is asked
// for, each entry at most once per tick.
func (u *use) moved(order *list.List) bool {
	if u.last == u.stamp {
		return false
	}
	u.stamp = u.last
	order.MoveToBack(u.place)
	return true
}

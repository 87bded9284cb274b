package session

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

var _ stats.Killer = (*Killer)(nil)

// errNoFlow is a Router's mistake: a route without a stats.Flow counts nowhere.
var errNoFlow = errors.New("route without a flow")

// Killer ends one route from outside: its stats.Flow is opened with it, before
// there is a route. Make one with new(Killer).
type Killer struct {
	killed atomic.Bool
	route  atomic.Pointer[route]
}

// Kill removes the route and closes its Flow; the next packet of its source to
// its destination is routed anew. It does not block, may come before the route
// is there, and may be called twice and from any goroutine.
func (k *Killer) Kill() {
	k.killed.Store(true)
	if r := k.route.Load(); r != nil {
		r.server.end(r, nil)
	}
}

// bind tells k its route.
func (k *Killer) bind(r *route) {
	k.route.Store(r)
	if k.killed.Load() {
		r.server.end(r, nil)
	}
}

// end removes one route and closes what it had.
func (sv *server) end(r *route, err error) {
	sv.mu.Lock()
	finish := sv.remove(r)
	sv.mu.Unlock()
	if finish {
		r.finish(err)
	}
}

// decide asks the Router about r, gets it a PacketConn and sends what waited.
func (sv *server) decide(r *route, f *framework.Flow) {
	defer sv.table.pending.Add(-1)
	rt, err := sv.router.Route(sv.ctx, f)
	if err == nil && rt.Flow == nil && !rt.Drop {
		rt.finish(nil)
		err = errNoFlow
	}
	if err != nil {
		sv.fail(r, err)
		return
	}
	if !sv.adopt(r, rt) {
		rt.finish(nil)
		return
	}
	if rt.Killer != nil {
		rt.Killer.bind(r)
	}
	if rt.Drop {
		return
	}
	c, err := sv.attach(r)
	if err != nil {
		sv.fail(r, err)
		return
	}
	if c != nil {
		sv.flush(r, c)
	}
}

// adopt gives r the Router's answer, unless r is gone.
func (sv *server) adopt(r *route, rt Route) bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if r.state == gone {
		return false
	}
	r.Route = rt
	if rt.Drop {
		r.state, r.until = dropping, sv.table.now.Load()+int64(sv.table.DropFor)
		r.queue.each(func(b []byte) { r.count(len(b)) })
		sv.table.droppedPolicy.Add(uint64(len(r.queue.sizes)))
		r.queue = queue{}
	}
	return true
}

// fail makes r drop its packets for a while, and closes what it had.
func (sv *server) fail(r *route, err error) {
	sv.table.failedRoutes.Add(1)
	sv.mu.Lock()
	rt, finish := sv.spoil(r)
	sv.mu.Unlock()
	if finish {
		rt.finish(err)
	}
}

// spoil puts r in the state failed; the caller holds mu and, when it is told
// so, finishes the Route without mu.
func (sv *server) spoil(r *route) (rt Route, finish bool) {
	if r.state == gone {
		return rt, false
	}
	rt, finish = r.Route, r.adopted()
	sv.detach(r)
	r.Route = Route{}
	r.queue = queue{}
	r.state, r.until = failed, sv.table.now.Load()+int64(sv.table.Backoff)
	return rt, finish
}

// attach gives r the PacketConn of its source and outbound, and dials it when
// r is the first. It returns nil when r is gone meanwhile.
func (sv *server) attach(r *route) (*conn, error) {
	sv.mu.Lock()
	if r.state == gone {
		sv.mu.Unlock()
		return nil, nil
	}
	c := r.session.conns[r.Outbound]
	first := c == nil
	if first {
		c = &conn{server: sv, session: r.session, outbound: r.Outbound, opened: make(chan struct{}), peers: map[netip.AddrPort]*route{}}
		r.session.conns[r.Outbound] = c
	}
	c.join(r)
	dial := r.Dial
	sv.mu.Unlock()

	if first {
		c.open(dial)
	}
	<-c.opened // the dial obeys ctx
	if c.err != nil {
		return nil, c.err
	}
	return c, nil
}

// flush sends what waited for r in order; the route is ready when nothing is
// left, so that no later packet passes an earlier one.
func (sv *server) flush(r *route, c *conn) {
	for {
		sv.mu.Lock()
		if r.state == gone || len(r.queue.sizes) == 0 {
			if r.state == deciding {
				r.state = ready
			}
			sv.mu.Unlock()
			return
		}
		q := r.queue
		r.queue = queue{}
		q.each(func(b []byte) { r.sent(len(b)) })
		to := r.To
		sv.mu.Unlock()
		q.each(func(b []byte) {
			if _, err := c.pc.WritePacket(b, to); err != nil {
				sv.table.failedWrites.Add(1)
			}
		})
	}
}

// dialer is Route.Dial.
type dialer func(context.Context) (framework.PacketConn, error)

package session

import (
	"container/list"
	"context"
	"net/netip"
	"sync"

	"github.com/culvert-proxy/culvert/framework"
)

// server is one PacketServer with its sessions. Only the goroutine in read
// adds routes; anybody may remove them.
type server struct {
	table  *Table
	ps     framework.PacketServer
	origin framework.Origin
	router Router
	ctx    context.Context // ends with Serve, which waits for wg
	wg     sync.WaitGroup  // goroutines that decide, read and close; added to under mu

	mu       sync.Mutex // guards all below, and what hangs on it
	sessions map[netip.AddrPort]*session
	order    list.List // of *session, longest idle in front as of their stamps
}

// session is everything from one source.
type session struct {
	source netip.AddrPort
	addrs  map[netip.AddrPort]*route // by destination
	names  map[name]*route           // by destination; nil until there is one
	conns  map[any]*conn             // by Route.Outbound
	order  list.List                 // of *route, as in server
	use    use
}

// name is a destination that is a host name.
type name struct {
	host string
	port uint16
}

// use is an entry's place in an order.
type use struct {
	last  int64 // when it was used, by the table's clock
	stamp int64 // the value of last when it got its place
	place *list.Element
}

// state is where a route stands:
//
//	deciding ──► ready ──────┐
//	   │  └────► dropping ───┤
//	   └───────► failed ─────┴──► gone
//
// and any of them may be gone at once.
type state uint8

const (
	deciding state = iota // a goroutine asks the Router; packets wait in queue
	ready
	dropping // until `until`
	failed   // until `until`
	gone     // not in the table any more
)

// route is one destination of a source. What Route says is written before
// ready and then stays.
type route struct {
	Route
	server  *server
	session *session
	to      framework.Addr // the destination as the client says it
	conn    *conn          // nil before there is one

	state    state
	until    int64 // end of failed and dropping, by the table's clock
	use      use
	answered bool // the last packet was an answer from a name server
	shadowed bool // another route of conn has the same Route.To
	learned  []netip.AddrPort
	queue    queue
}

// read carries packets from the inbound until it fails.
func (sv *server) read() error {
	b := sv.table.buffers.Get().(*[maxPacket]byte)
	defer sv.table.buffers.Put(b)
	var m framework.PacketMeta
	for {
		n, err := sv.ps.ReadPacket(b[:], &m)
		if err != nil {
			return err
		}
		sv.packet(b[:n], &m)
	}
}

// packet sends one datagram on its way, or lets it wait for its route.
func (sv *server) packet(b []byte, m *framework.PacketMeta) {
	sv.mu.Lock()
	r := sv.find(m)
	if r == nil {
		sv.mu.Unlock()
		sv.introduce(b, m)
		return
	}
	switch r.state {
	case ready:
		r.sent(len(b))
		pc, to := r.conn.pc, r.To
		sv.mu.Unlock()
		if _, err := pc.WritePacket(b, to); err != nil {
			sv.table.failedWrites.Add(1) // too long, or the peer's port is shut: the next one may pass
		}
		return
	case deciding:
		if !r.queue.push(b) {
			sv.table.droppedQueue.Add(1)
		}
	case failed:
		sv.table.droppedFailed.Add(1)
	case dropping:
		r.count(len(b))
		sv.table.droppedPolicy.Add(1)
	}
	sv.mu.Unlock()
}

// find looks up the route of a packet; the caller holds mu.
func (sv *server) find(m *framework.PacketMeta) *route {
	s := sv.sessions[m.Source]
	if s == nil {
		return nil
	}
	if m.Destination.Host != "" {
		return s.names[name{m.Destination.Host, m.Destination.Port}]
	}
	return s.addrs[m.Destination.AddrPort()]
}

// sent notes a packet of n bytes that is about to go out; the caller holds mu,
// so that the bytes are in before anybody closes the flow.
func (r *route) sent(n int) {
	r.count(n)
	r.answered = false
	c := r.conn
	if c.latest != r {
		c.latest = r
		if r.shadowed {
			c.peers[r.To.AddrPort()] = r
		}
	}
}

// count adds n bytes up and keeps the route young; the caller holds mu.
func (r *route) count(n int) {
	if r.Flow != nil {
		r.Flow.Up.Add(uint64(n))
	}
	r.touch()
}

// touch keeps the route and its session young; the caller holds mu.
func (r *route) touch() {
	now := r.server.table.now.Load()
	r.use.last, r.session.use.last = now, now
}

// introduce makes the route of a packet that has none and starts to decide on
// it. It is called by the reader only.
func (sv *server) introduce(b []byte, m *framework.PacketMeta) {
	t := sv.table
	if t.pending.Add(1) > int64(t.MaxPending) {
		t.pending.Add(-1)
		t.droppedPending.Add(1)
		return
	}
	t.refresh()
	t.makeRoom(sv, m.Source)
	f := &framework.Flow{Network: framework.UDP, Source: m.Source, Destination: m.Destination, Inbound: sv.origin, DSCP: m.DSCP}
	if m.User != "" {
		f.Inbound.User = m.User
	}
	sv.mu.Lock()
	defer sv.mu.Unlock()
	r := sv.add(m)
	r.queue.push(b)
	sv.wg.Go(func() { sv.decide(r, f) }) // ends with the Router and the dial, which obey ctx
}

// add enters a route, and its session when it is the first; the caller holds mu.
func (sv *server) add(m *framework.PacketMeta) *route {
	t := sv.table
	s := sv.sessions[m.Source]
	if s == nil {
		s = &session{source: m.Source, addrs: map[netip.AddrPort]*route{}, conns: map[any]*conn{}}
		sv.sessions[m.Source] = s
		s.use.place = sv.order.PushBack(s)
		t.sessions.Add(1)
	}
	r := &route{server: sv, session: s, to: m.Destination}
	if r.to.Host != "" {
		if s.names == nil {
			s.names = map[name]*route{}
		}
		s.names[name{r.to.Host, r.to.Port}] = r
	} else {
		s.addrs[r.to.AddrPort()] = r
	}
	r.touch()
	r.use.stamp, s.use.stamp = r.use.last, s.use.last
	r.use.place = s.order.PushBack(r)
	sv.order.MoveToBack(s.use.place)
	if t.routes.Add(1) == 1 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	return r
}

// remove takes a route out of the table, once; the caller holds mu and, when it
// is told so, calls finish without mu.
func (sv *server) remove(r *route) (finish bool) {
	if r.state == gone {
		return false
	}
	r.state = gone
	r.queue = queue{}
	s := r.session
	if r.to.Host != "" {
		delete(s.names, name{r.to.Host, r.to.Port})
	} else {
		delete(s.addrs, r.to.AddrPort())
	}
	s.order.Remove(r.use.place)
	if s.order.Len() == 0 {
		delete(sv.sessions, s.source)
		sv.order.Remove(s.use.place)
		sv.table.sessions.Add(-1)
	}
	sv.table.routes.Add(-1)
	sv.detach(r)
	return r.adopted()
}

// adopted says whether the Router's answer is in r already. Before, the
// goroutine that waits for it sees that r is gone and closes what it gets.
func (r *route) adopted() bool { return r.Flow != nil || r.Release != nil }

// finish closes what the Router gave, with the class of err as the reason. The
// caller holds no lock.
func (r *Route) finish(err error) {
	if r.Flow != nil {
		r.Flow.Close(reason(err))
	}
	if r.Release != nil {
		r.Release()
	}
}

// reason is the class of err as stats spells it: "" for none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if class := framework.Classify(err); class != nil {
		return class.Error()
	}
	return "error"
}

// shut ends all sessions and waits for their goroutines.
func (sv *server) shut() {
	sv.mu.Lock()
	var out []*route
	for _, s := range sv.sessions {
		for e := s.order.Front(); e != nil; e = e.Next() {
			out = append(out, e.Value.(*route))
		}
	}
	out = sv.removeAll(out)
	sv.mu.Unlock()
	for _, r := range out {
		r.finish(nil)
	}
	sv.wg.Wait()
}

// removeAll removes routes and keeps those to finish; the caller holds mu.
func (sv *server) removeAll(routes []*route) []*route {
	kept := routes[:0]
	for _, r := range routes {
		if sv.remove(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

package session

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/culvert-proxy/culvert/framework"
)

// maxLearned is how many addresses one named destination may answer from.
// Chosen: more than a resolver returns for one name.
const maxLearned = 16

// maxStrikes is how many reads in a row may tell of refused packets before the
// PacketConn counts as broken. Chosen: a peer that is starting up.
const maxStrikes = 16

// conn is the PacketConn of one source and outbound. It lives while routes
// hold it.
type conn struct {
	server   *server
	session  *session
	outbound any

	opened chan struct{}        // closed when pc and err are set
	pc     framework.PacketConn // nil when err is not
	err    error

	// The server's mu guards these.
	routes int
	named  int                       // those of routes whose To is a host name
	peers  map[netip.AddrPort]*route // by To, or by an address that a name answered from
	latest *route                    // the one that sent last; nil when that is gone
	heard  bool                      // something came back
}

// join makes r one of c's routes; the caller holds the server's mu.
func (c *conn) join(r *route) {
	r.conn = c
	c.routes++
	if r.To.Host != "" {
		c.named++
		return
	}
	peer := r.To.AddrPort()
	if other := c.peers[peer]; other != nil {
		other.shadowed, r.shadowed = true, true
	}
	c.peers[peer] = r
}

// detach takes r from its conn, and closes that after its last route; the
// caller holds mu.
func (sv *server) detach(r *route) {
	c := r.conn
	if c == nil {
		return
	}
	r.conn = nil
	c.routes--
	if c.latest == r {
		c.latest = nil
	}
	if r.To.Host != "" {
		c.named--
		for _, peer := range r.learned {
			delete(c.peers, peer)
		}
	} else if c.peers[r.To.AddrPort()] == r {
		delete(c.peers, r.To.AddrPort())
	}
	if c.routes > 0 {
		return
	}
	if c.session.conns[c.outbound] == c {
		delete(c.session.conns, c.outbound)
	}
	if c.pc != nil {
		sv.wg.Go(func() { c.pc.Close() }) // ends when Close returns; nobody who holds mu may wait for that
	}
}

// open dials c and starts its reader, unless its routes left meanwhile.
func (c *conn) open(dial dialer) {
	defer close(c.opened)
	sv := c.server
	pc, err := dial(sv.ctx)
	sv.mu.Lock()
	if err != nil {
		c.err = err
		if c.session.conns[c.outbound] == c {
			delete(c.session.conns, c.outbound)
		}
		sv.mu.Unlock()
		return
	}
	c.pc = pc
	wanted := c.routes > 0
	if wanted {
		sv.wg.Go(c.read)
	}
	sv.mu.Unlock()
	if !wanted {
		pc.Close()
	}
}

// read carries answers until the PacketConn fails or is closed.
func (c *conn) read() {
	t := c.server.table
	b := t.buffers.Get().(*[maxPacket]byte)
	defer t.buffers.Put(b)
	strikes := 0
	for {
		n, from, err := c.readPacket(b[:])
		if err == nil {
			strikes = 0
			c.answer(b[:n], from)
			continue
		}
		// A system may report here that a packet of ours was refused; the
		// socket is as good as before.
		if strikes++; strikes < maxStrikes && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)) {
			continue
		}
		c.lose(err)
		return
	}
}

// answer gives one datagram to the client, as coming from what it sent to.
func (c *conn) answer(b []byte, from framework.Addr) {
	sv := c.server
	sv.mu.Lock()
	c.heard = true
	r, as := c.origin(from)
	if r == nil {
		sv.mu.Unlock() // the last route left; c is being closed
		return
	}
	r.Flow.Down.Add(uint64(len(b)))
	r.touch()
	r.answered = true
	sv.mu.Unlock()
	if err := sv.ps.WritePacket(b, c.session.source, as); err != nil {
		sv.table.failedWrites.Add(1)
	}
}

// origin finds the route that an answer belongs to and the address that the
// client knows its sender by; the caller holds mu. A third party keeps its own
// address, and counts for the route that sent last.
func (c *conn) origin(from framework.Addr) (*route, framework.Addr) {
	peer := from.AddrPort()
	if r := c.peers[peer]; r != nil {
		return r, r.to
	}
	if c.named > 0 {
		if r := c.learn(from, peer); r != nil {
			return r, r.to
		}
	}
	if c.latest == nil {
		c.latest = c.any(func(*route) bool { return true })
	}
	return c.latest, from
}

// learn finds the named route that an answer from an unknown peer belongs to:
// the one with that name, the only one at that port, or of several at that port
// the one that was made first and has not answered yet. The peer is kept, so
// that the next answer costs nothing.
func (c *conn) learn(from framework.Addr, peer netip.AddrPort) *route {
	if from.Host != "" {
		return c.any(func(r *route) bool { return r.To == from })
	}
	atPort := 0
	c.any(func(r *route) bool {
		if r.To.Host != "" && r.To.Port == from.Port {
			atPort++
		}
		return false
	})
	only := c.any(func(r *route) bool {
		return r.To.Host != "" && r.To.Port == from.Port && (atPort == 1 || len(r.learned) == 0)
	})
	if only != nil && len(only.learned) < maxLearned {
		only.learned = append(only.learned, peer)
		c.peers[peer] = only
	}
	return only
}

// any is the first of c's routes, as the session keeps them, that ok takes.
func (c *conn) any(ok func(*route) bool) *route {
	for e := c.session.order.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*route); r.conn == c && ok(r) {
			return r
		}
	}
	return nil
}

// lose ends the routes of a PacketConn that cannot be read any more. The next
// packet asks the Router again; when nothing was ever heard on it, only after
// the back-off, so that a server that hangs up is not dialled per packet.
func (c *conn) lose(err error) {
	sv := c.server
	var out []Route
	sv.mu.Lock()
	for r := c.any(isRoute); r != nil; r = c.any(isRoute) {
		if c.heard {
			if sv.remove(r) {
				out = append(out, r.Route)
			}
		} else if rt, finish := sv.spoil(r); finish {
			out = append(out, rt)
		}
	}
	sv.mu.Unlock()
	for i := range out {
		out[i].finish(err)
	}
}

// readPacket turns a panic of the outbound's into an error: it ends the routes
// through it, not the process.
func (c *conn) readPacket(b []byte) (n int, from framework.Addr, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in a packet conn: %v", r)
		}
	}()
	return c.pc.ReadPacket(b)
}

func isRoute(*route) bool { return true }

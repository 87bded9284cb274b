package session

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// datagram is one packet that a fake carries.
type datagram struct {
	data string
	meta framework.PacketMeta // of the inbound
	peer framework.Addr       // of the outbound
}

// wire is either fake's queue in and out.
type wire struct {
	in, out chan datagram
	closed  chan struct{}
	once    sync.Once
}

func newWire() *wire {
	return &wire{in: make(chan datagram, 256), out: make(chan datagram, 256), closed: make(chan struct{})}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wire) read() (datagram, error) {
	select {
	case d := <-w.in:
		return d, nil
	case <-w.closed:
		return datagram{}, net.ErrClosed
	}
}

// inbound is a PacketServer in memory.
type inbound struct{ *wire }

func (s inbound) ReadPacket(b []byte, m *framework.PacketMeta) (int, error) {
	d, err := s.read()
	*m = d.meta
	return copy(b, d.data), err
}

func (s inbound) WritePacket(b []byte, source netip.AddrPort, from framework.Addr) error {
	s.out <- datagram{string(b), framework.PacketMeta{Source: source}, from}
	return nil
}

// exit is a PacketConn in memory.
type exit struct {
	*wire
	refuse error // what WritePacket returns
}

func (c *exit) ReadPacket(b []byte) (int, framework.Addr, error) {
	d, err := c.read()
	return copy(b, d.data), d.peer, err
}

func (c *exit) WritePacket(b []byte, to framework.Addr) (int, error) {
	c.out <- datagram{data: string(b), peer: to}
	return len(b), c.refuse
}

func (c *exit) SetReadDeadline(time.Time) error { return nil }

// house is a table that serves one inbound, with a router that the test sets.
type house struct {
	t     *testing.T
	stats *stats.Stats
	table *Table
	in    inbound
	done  chan error
	stop  context.CancelFunc

	mu       sync.Mutex // guards the rest
	route    func(f *framework.Flow) (Route, error)
	asked    []framework.Addr
	exits    []*exit
	flows    []*stats.Flow
	opened   int
	released atomic.Int32
}

// inHouse runs f in a bubble with a house that is torn down after it.
func inHouse(t *testing.T, c Config, f func(h *house)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, stats: stats.New(), table: New(c), in: inbound{newWire()}, done: make(chan error, 1)}
		ctx, cancel := context.WithCancel(context.Background())
		h.stop = cancel
		go func() { h.done <- h.table.Serve(ctx, h.in, framework.Origin{Name: "in"}, h) }()
		f(h)
		cancel()
		<-h.done
		if n := h.table.Counts(); n.Routes != 0 || n.Sessions != 0 || n.Pending != 0 {
			t.Errorf("left behind: %+v", n)
		}
		if n := h.stats.OpenFlows(); n != 0 {
			t.Errorf("%d flows left open", n)
		}
		if n := int(h.released.Load()); n != h.opened {
			t.Errorf("released %d of %d routes", n, h.opened)
		}
		for i, e := range h.exits {
			select {
			case <-e.closed:
			default:
				t.Errorf("packet conn %d left open", i)
			}
		}
	})
}

func (h *house) Route(_ context.Context, f *framework.Flow) (Route, error) {
	h.mu.Lock()
	h.asked = append(h.asked, f.Destination)
	route := h.route
	h.mu.Unlock()
	if route == nil {
		return h.through("direct", f, f.Destination), nil
	}
	return route(f)
}

// through is a route with an open flow.
func (h *house) through(outbound string, f *framework.Flow, to framework.Addr) Route {
	k := new(Killer)
	sf := &stats.Flow{Flow: *f, Info: stats.Info{Chain: []string{outbound}}}
	h.stats.Open(sf, k)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened++
	h.flows = append(h.flows, sf)
	return Route{Outbound: outbound, Dial: h.dial, To: to, Flow: sf, Killer: k, Release: func() { h.released.Add(1) }}
}

func (h *house) dial(context.Context) (framework.PacketConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &exit{wire: newWire()}
	h.exits = append(h.exits, e)
	return e, nil
}

func (h *house) setRoute(f func(*framework.Flow) (Route, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.route = f
}

func (h *house) send(source, data string, to framework.Addr) {
	h.in.in <- datagram{data: data, meta: framework.PacketMeta{Source: netip.MustParseAddrPort(source), Destination: to}}
}

// settle waits until nothing moves any more.
func (h *house) settle() { synctest.Wait() }

// sent is what went out through the i-th packet conn, in order.
func (h *house) sent(i int) []string {
	h.t.Helper()
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	if i >= len(h.exits) {
		h.t.Fatalf("no packet conn %d, only %d", i, len(h.exits))
	}
	return drain(h.exits[i].out)
}

// got is what the clients got.
func (h *house) got() []string {
	h.settle()
	return drain(h.in.out)
}

func (h *house) answer(i int, data string, from framework.Addr) {
	h.settle()
	h.exits[i].in <- datagram{data: data, peer: from}
}

func drain(c chan datagram) (all []string) {
	for {
		select {
		case d := <-c:
			if d.meta.Source.IsValid() {
				all = append(all, fmt.Sprint(d.data, " ", d.peer, " to ", d.meta.Source))
			} else {
				all = append(all, fmt.Sprint(d.data, " ", d.peer))
			}
		default:
			return all
		}
	}
}

func (h *house) want(got []string, want ...string) {
	h.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != len(want) {
		h.t.Errorf("got %q, want %q", got, want)
	}
}

func addr(s string) framework.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return framework.AddrFrom(ap)
	}
	host, port, _ := net.SplitHostPort(s)
	n, _ := net.LookupPort("udp", port)
	return framework.Addr{Host: host, Port: uint16(n)}
}

const (
	alice = "10.0.0.1:1000"
	bob   = "10.0.0.2:1000"
)

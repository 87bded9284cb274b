package dispatch_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/relay"
	"github.com/culvert-proxy/culvert/framework/route"
	"github.com/culvert-proxy/culvert/framework/session"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// patience bounds every wait.
const patience = 10 * time.Second

// echo is an outbound whose streams send back what they get.
type echo struct {
	dials atomic.Int32
	to    atomic.Value // framework.Addr of the last dial
	err   error
	boom  bool
}

func (e *echo) DialStream(_ context.Context, to framework.Addr) (net.Conn, error) {
	e.dials.Add(1)
	e.to.Store(to)
	if e.boom {
		panic("boom")
	}
	if e.err != nil {
		return nil, e.err
	}
	here, there, err := pair()
	if err != nil {
		return nil, err
	}
	go func() { // ends when the flow closes here
		io.Copy(there, there)
		there.Close()
	}()
	return here, nil
}

func (e *echo) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	e.dials.Add(1)
	return &packetEcho{wire: make(chan []byte, 16), gone: make(chan struct{})}, e.err
}

func (e *echo) Close() error { return nil }

type packetEcho struct {
	wire chan []byte
	gone chan struct{}
	once sync.Once
	to   atomic.Value
}

func (p *packetEcho) ReadPacket(b []byte) (int, framework.Addr, error) {
	select {
	case d := <-p.wire:
		return copy(b, d), p.to.Load().(framework.Addr), nil
	case <-p.gone:
		return 0, framework.Addr{}, net.ErrClosed
	}
}

func (p *packetEcho) WritePacket(b []byte, to framework.Addr) (int, error) {
	p.to.Store(to)
	p.wire <- append([]byte(nil), b...)
	return len(b), nil
}

func (p *packetEcho) SetReadDeadline(time.Time) error { return nil }
func (p *packetEcho) Close() error                    { p.once.Do(func() { close(p.gone) }); return nil }

// pair is a connection over loopback.
func pair() (a, b net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}

// inOrder is a group that picks the first member that has not failed.
type inOrder struct {
	mu     sync.Mutex // guards failed
	failed map[string]bool
}

func (g *inOrder) Pick(_ *framework.Flow, m framework.Members) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range m.Names() {
		if !g.failed[n] {
			return n, nil
		}
	}
	return m.Names()[0], nil
}

func (g *inOrder) Report(name string, r framework.Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = map[string]bool{}
	}
	g.failed[name] = r.Err != nil
}

type names []string

func (n names) Names() []string                        { return n }
func (n names) Health(string, string) framework.Health { return framework.Health{Alive: true} }
func (n names) CarriesPackets(string) bool             { return true }
func (n names) Changes() uint64                        { return 0 }

type rules struct{}

func (rules) Lookup(_ framework.Kind, typ string) (framework.Descriptor, bool) {
	return framework.NewRule(typ, "Domain", func(a framework.RuleArgs) (framework.Rule, error) { return host(a.Payload), nil }), true
}

type host string

func (h host) Match(_ *framework.Flow, f framework.Facts) (bool, error) {
	return f.Host() == string(h), nil
}

type noNames struct{}

func (noNames) Lookup(context.Context, string) ([]netip.Addr, error) {
	return nil, errors.New("no resolver here")
}

type hosts map[string][]netip.Addr

func (h hosts) Lookup(name string) (string, []netip.Addr) {
	if name == "alias.test" {
		name = "a.test"
	}
	return name, h[name]
}

// house is a dispatcher with three outbounds and a group.
type house struct {
	*dispatch.Dispatcher
	stats         *stats.Stats
	logs          *stats.LogStream
	good, bad, no *echo
	nodes         map[string]*dispatch.Node
}

func newHouse(t *testing.T) *house {
	t.Helper()
	level := new(slog.LevelVar)
	level.Set(stats.LevelSilent)
	h := &house{stats: stats.New(), logs: stats.NewLogStream(slog.DiscardHandler, level), good: &echo{}, no: &echo{err: framework.ErrRejected},
		bad: &echo{err: framework.Classed(framework.ErrRefused, errors.New("dial: refused"))}}
	r := relay.New(relay.Config{})
	t.Cleanup(func() { r.Close() })
	h.Dispatcher = dispatch.New(h.stats, slog.New(h.logs), r, session.New(session.Config{}))
	outbound := func(name string, e *echo, caps ...framework.Cap) *dispatch.Node {
		d := framework.NewOutbound("echo", func() struct{} { return struct{}{} }, nil, framework.WithCaps(caps...))
		return dispatch.NewOutbound(name, d, e, h.stats)
	}
	h.nodes = map[string]*dispatch.Node{
		"DIRECT": outbound("DIRECT", h.good, framework.CapPacket), "good": outbound("good", h.good, framework.CapPacket),
		"bad": outbound("bad", h.bad), "REJECT": outbound("REJECT", h.no, framework.CapPacket),
		"streams": outbound("streams", h.good),
	}
	h.nodes["group"] = dispatch.NewGroup("group", framework.Descriptor{}, &inOrder{}, names{"bad", "good"})
	h.nodes["GLOBAL"] = dispatch.NewGroup("GLOBAL", framework.Descriptor{}, &inOrder{}, names{"good"})
	table, errs := route.Compile([]route.Line{
		{Type: "DOMAIN", Payload: "a.test", Target: "good"}, {Type: "DOMAIN", Payload: "group.test", Target: "group"},
		{Type: "DOMAIN", Payload: "bad.test", Target: "bad"}, {Type: "DOMAIN", Payload: "reject.test", Target: "REJECT"},
		{Type: "DOMAIN", Payload: "udp.test", Target: "streams"}, {Type: "DOMAIN", Payload: "udp.test", Target: "good"},
	}, nil, rules{})
	if errs != nil {
		t.Fatal(errs)
	}
	h.Publish(&dispatch.Snapshot{Rules: table, Nodes: h.nodes, Resolver: noNames{},
		Hosts: hosts{"pinned.test": {netip.MustParseAddr("192.0.2.9")}}})
	return h
}

// replies keeps what the client was told.
type replies struct{ c chan error }

func (r replies) Reply(err error) error { r.c <- err; return nil }

// flow is a client's side of a flow in progress.
type flow struct {
	net.Conn
	replies replies
	done    chan struct{}
}

func (h *house) dial(t *testing.T, p *dispatch.Port, host string, head string) *flow {
	t.Helper()
	client, server, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{Conn: client, replies: replies{make(chan error, 1)}, done: make(chan struct{})}
	go func() { // ends with the flow
		defer close(f.done)
		p.HandleStream(context.Background(), framework.Stream{Conn: server, Head: []byte(head), Client: f.replies}, &framework.Flow{
			Network: framework.TCP, Source: netip.MustParseAddrPort("127.0.0.1:50000"),
			Destination: framework.Addr{Host: host, Port: 443}, Inbound: framework.Origin{Name: "in", Type: "Socks5"}})
	}()
	client.SetDeadline(time.Now().Add(patience))
	return f
}

func (f *flow) reply(t *testing.T) error {
	t.Helper()
	return receive(t, f.replies.c)
}

// settle waits until n flows are open.
func (h *house) settle(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); h.stats.OpenFlows() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d flows open, want %d", h.stats.OpenFlows(), n)
		}
	}
}

func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came in time")
	}
	return v
}

func TestFlowIsAnsweredRelayedAndCounted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	lines, end := h.logs.Subscribe(slog.LevelInfo)
	defer end()

	f := h.dial(t, h.Port("", ""), "a.test", "head ")
	if err := f.reply(t); err != nil {
		t.Fatalf("reply: %v", err)
	}
	go f.Write([]byte("tail"))
	got := make([]byte, len("head tail"))
	if _, err := io.ReadFull(f, got); err != nil || string(got) != "head tail" {
		t.Fatalf("echo %q, %v", got, err)
	}
	open := h.stats.Flows(nil)
	if len(open) != 1 || strings.Join(open[0].Chain, " ") != "good" || open[0].Rule != "Domain" || open[0].Payload != "a.test" {
		t.Fatalf("open flows: %+v", open)
	}
	f.Close()
	h.settle(t, 0)

	if up, down := h.stats.Bytes(); up != 9 || down != 9 {
		t.Errorf("bytes %d up, %d down; want 9, 9", up, down)
	}
	if got, want := receive(t, lines).Message, "[TCP] 127.0.0.1:50000 --> a.test:443 match Domain(a.test) using good"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	if n := h.nodes["good"].Lease.Holds(); n != 0 {
		t.Errorf("%d holds left on the outbound", n)
	}
}

func TestTargetFollowsModeListenerAndHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		mode  dispatch.Mode
		proxy string
		host  string
		chain string
		to    string
	}{
		{"rule", dispatch.ModeRule, "", "a.test", "good", "a.test:443"},
		{"no rule holds", dispatch.ModeRule, "", "other.test", "DIRECT", "other.test:443"},
		{"alias comes before the rules", dispatch.ModeRule, "", "alias.test", "good", "a.test:443"},
		{"address of hosts is dialled", dispatch.ModeRule, "", "pinned.test", "DIRECT", "192.0.2.9:443"},
		{"global", dispatch.ModeGlobal, "", "a.test", "good GLOBAL", "a.test:443"},
		{"direct", dispatch.ModeDirect, "", "a.test", "DIRECT", "a.test:443"},
		{"listener's proxy wins over the mode", dispatch.ModeDirect, "good", "bad.test", "good", "bad.test:443"},
	} {
		h := newHouse(t)
		h.SetMode(c.mode)
		f := h.dial(t, h.Port(c.proxy, ""), c.host, "")
		if err := f.reply(t); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := strings.Join(h.stats.Flows(nil)[0].Chain, " "); got != c.chain {
			t.Errorf("%s: chain %q, want %q", c.name, got, c.chain)
		}
		if got := h.good.to.Load().(framework.Addr).String(); got != c.to {
			t.Errorf("%s: dialled %s, want %s", c.name, got, c.to)
		}
		f.Close()
		h.settle(t, 0)
	}
}

func TestFailedDialIsAnsweredWithItsClass(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for host, want := range map[string]error{"bad.test": framework.ErrRefused, "reject.test": framework.ErrRejected} {
		f := h.dial(t, h.Port("", ""), host, "")
		if err := f.reply(t); !errors.Is(err, want) {
			t.Errorf("%s: reply %v, want %v", host, err, want)
		}
		receive(t, f.done)
		if _, err := f.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: client's read gives %v, want EOF", host, err)
		}
	}
	counted := map[string]uint64{}
	h.stats.FinishedFlows(func(l stats.FlowLabels, n uint64) { counted[l.Outbound+" "+l.Reason] += n })
	if counted["bad refused"] != 1 || counted["REJECT rejected"] != 1 {
		t.Errorf("finished flows: %v", counted)
	}
}

func TestGroupIsAskedAgainAfterAFailedDial(t *testing.T) {
	t.Parallel()
	h := newHouse(t)

	f := h.dial(t, h.Port("", ""), "group.test", "")

	if err := f.reply(t); err != nil {
		t.Fatalf("reply: %v", err)
	}
	if got := strings.Join(h.stats.Flows(nil)[0].Chain, " "); got != "good group" {
		t.Errorf("chain %q, want the second member", got)
	}
	if n := h.bad.dials.Load(); n != 1 {
		t.Errorf("the dead member was dialled %d times, want once", n)
	}
	f.Close()
	h.settle(t, 0)
	for _, name := range []string{"bad", "good"} {
		if n := h.nodes[name].Lease.Holds(); n != 0 {
			t.Errorf("%d holds left on %s", n, name)
		}
	}
}

func TestKillEndsTheFlowsOfAnOutbound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := h.dial(t, h.Port("", ""), "a.test", "")
	f.reply(t)
	other := h.dial(t, h.Port("", ""), "other.test", "")
	other.reply(t)

	if n := h.Kill(func(exit *dispatch.Node) bool { return exit == h.nodes["good"] }); n != 1 {
		t.Errorf("killed %d flows, want 1", n)
	}

	h.settle(t, 1)
	if _, err := f.Read(make([]byte, 1)); err == nil {
		t.Error("the killed flow still carries bytes")
	}
	other.Close()
	h.settle(t, 0)
}

func TestRetiredOutboundClosesWithItsLastFlow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := h.dial(t, h.Port("", ""), "a.test", "")
	f.reply(t)
	closed := make(chan struct{})

	h.nodes["good"].Lease.Retire(func() { close(closed) })

	select {
	case <-closed:
		t.Fatal("closed under an open flow")
	default:
	}
	if h.nodes["good"].Lease.Acquire() {
		t.Error("a retired outbound took a new flow")
	}
	f.Close()
	receive(t, closed)
}

func TestPanicOfAPluginEndsItsFlowOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	lines, end := h.logs.Subscribe(slog.LevelError)
	defer end()
	h.bad.boom = true
	for range 2 {
		f := h.dial(t, h.Port("", ""), "bad.test", "")
		receive(t, f.done)
	}

	if line := receive(t, lines); !strings.Contains(line.Message, "boom") || !strings.Contains(line.Message, "DialStream") {
		t.Errorf("line %q, want the panic and its place", line.Message)
	}
	select {
	case line := <-lines:
		t.Errorf("the same place was logged twice: %q", line.Message)
	default:
	}
	if n := h.nodes["bad"].Lease.Holds(); n != 0 {
		t.Errorf("%d holds left", n)
	}
}

// datagrams is a client's side of packets.
type datagrams struct {
	in, out chan string
	to      framework.Addr
	gone    chan struct{}
	once    sync.Once
}

func (d *datagrams) ReadPacket(b []byte, m *framework.PacketMeta) (int, error) {
	select {
	case s := <-d.in:
		m.Source, m.Destination = netip.MustParseAddrPort("127.0.0.1:50000"), d.to
		return copy(b, s), nil
	case <-d.gone:
		return 0, net.ErrClosed
	}
}

func (d *datagrams) WritePacket(b []byte, _ netip.AddrPort, from framework.Addr) error {
	d.out <- from.String() + " " + string(b)
	return nil
}

func (d *datagrams) Close() error { d.once.Do(func() { close(d.gone) }); return nil }

func TestPacketsSkipOutboundsThatCarryNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := &datagrams{in: make(chan string, 1), out: make(chan string, 1), gone: make(chan struct{}),
		to: framework.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}}
	done := make(chan struct{})
	go func() { // ends when d closes
		defer close(done)
		h.Port("", "").HandlePackets(context.Background(), d, framework.Origin{Name: "in", Type: "Socks5"})
	}()

	d.in <- "ping"

	if got := receive(t, d.out); got != "192.0.2.1:53 ping" {
		t.Errorf("answer %q", got)
	}
	if f := h.stats.Flows(nil); len(f) != 1 || f[0].Network != framework.UDP || f[0].Up.Load() != 4 || f[0].Down.Load() != 4 {
		t.Errorf("flows %+v", f)
	}
	d.Close()
	receive(t, done)
	if n := h.stats.OpenFlows(); n != 0 {
		t.Errorf("%d flows left", n)
	}
	if !h.Snapshot().CarriesPackets("good") || h.Snapshot().CarriesPackets("streams") || h.Snapshot().CarriesPackets("gone") {
		t.Error("CarriesPackets: want good only")
	}
}

// Package dialer opens TCP connections and UDP sockets on this machine. It is
// the one place where outbound sockets are made, so all socket options live
// here: interface, mark, address families, keep-alive, fast open, multipath.
// Names go through a Resolver; chains through other outbounds are not its own.
package dialer

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// DefaultTimeout bounds a dial, names included. It is the peer's budget for
// TCP dials and for opening a UDP session (config-proxies.md §2).
const DefaultTimeout = 5 * time.Second

// Options are the settings of one outbound. A zero field leaves the choice to
// the process-wide Settings, or to the system. With TFO a dial may succeed
// before the server has answered; the first write or read then tells.
type Options struct {
	Interface string        // bind sockets to it; "" takes that of Settings
	Mark      int           // SO_MARK; 0 takes that of Settings
	IPVersion IPVersion     // families to use, Dual by default
	TFO       bool          // TCP fast open, where the system has it
	MPTCP     bool          // multipath TCP, where the system has it
	Timeout   time.Duration // of a dial; 0 is DefaultTimeout
}

// Dialer is a framework.Dialer over plain sockets. Streams are *net.TCPConn,
// so that they can be spliced. It holds no sockets and needs no Close.
type Dialer struct {
	resolver framework.Resolver
	options  Options
	settings *Settings
	plan     atomic.Pointer[plan]
}

// plan is what a dial needs, made once for each state of the settings.
type plan struct {
	global *Global
	bound  net.Dialer // binds to the interface
	local  net.Dialer // for loopback destinations, which no interface but lo has
	listen net.ListenConfig
	own    net.ListenConfig // as local
}

// New makes a Dialer. A nil settings stands for DefaultGlobal for ever. The
// resolver must give real addresses, never a fake-IP.
func New(r framework.Resolver, o Options, settings *Settings) *Dialer {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if settings == nil {
		settings = new(Settings)
	}
	return &Dialer{resolver: r, options: o, settings: settings}
}

// DialStream connects to a destination and returns a *net.TCPConn. A name is
// resolved and its addresses tried as IPVersion and Global.Concurrent say.
func (d *Dialer) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	p := d.current()
	dial := withDeadline(ctx, d.options.Timeout)
	if to.Host == "" {
		if err := d.allowed(p, to.IP); err != nil {
			return nil, dialError("tcp", to, err)
		}
		return tcpConn(p.dial(dial, to.AddrPort()))
	}
	ips, err := d.lookup(ctx, to.Host)
	if err != nil {
		return nil, dialError("tcp", to, contextError(ctx, err))
	}
	first, second := d.families(p, ips)
	if len(first) == 0 {
		return nil, dialError("tcp", to, errNoAddress)
	}
	t := &try{p: p, port: to.Port, concurrent: p.global.Concurrent}
	if t.concurrent && d.options.IPVersion == Dual {
		first, second = append(first, second...), nil
	}
	return tcpConn(t.race(dial, first, second))
}

func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	return d.resolver.Lookup(ctx, host)
}

// tcpConn keeps a nil *net.TCPConn from becoming a net.Conn that is not nil.
func tcpConn(c *net.TCPConn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// current is the plan for the settings in force.
func (d *Dialer) current() *plan {
	g := d.settings.Load()
	if p := d.plan.Load(); p != nil && p.global == g {
		return p
	}
	p := d.options.plan(g)
	d.plan.Store(p)
	return p
}

func (o Options) plan(g *Global) *plan {
	s := socket{device: o.Interface, mark: o.Mark, fastOpen: o.TFO}
	if s.device == "" {
		s.device = g.Interface
	}
	if s.mark == 0 {
		s.mark = g.Mark
	}
	p := &plan{global: g, bound: s.dialer(o, g), listen: net.ListenConfig{Control: s.packetControl()}}
	s.device = ""
	p.local, p.own = s.dialer(o, g), net.ListenConfig{Control: s.packetControl()}
	return p
}

func (s socket) dialer(o Options, g *Global) net.Dialer {
	d := net.Dialer{Control: s.streamControl(), KeepAlive: -1}
	if !g.KeepAliveOff {
		// Count is left to the system, whose default is Go's: a call less.
		d.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: g.KeepAliveIdle, Interval: g.KeepAliveInterval, Count: -1}
	}
	if o.MPTCP {
		d.SetMultipathTCP(true)
	}
	return d
}

// dial connects to one address.
func (p *plan) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	d := &p.bound
	if to.Addr().IsLoopback() {
		d = &p.local
	}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, dialError("tcp", framework.AddrFrom(to), contextError(ctx, err))
	}
	return c.(*net.TCPConn), nil // "tcp" gives no other
}

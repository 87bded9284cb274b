package dispatch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/relay"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// dialTimeout bounds the way to the server, retries included; the peer
// kernels allow as much.
const dialTimeout = 5 * time.Second

// maxTries bounds how often a flow asks its groups again after a failed dial.
const maxTries = 10

var (
	errNoPackets = errors.New("the outbound carries no packets")
	errTried     = errors.New("all exits were tried")
	errPanic     = errors.New("panic in a plugin")
)

// stream is one TCP flow that is open: its entry in stats and what ends it, in
// one allocation. It lives as long as the flow, so it holds no more.
type stream struct {
	stats.Flow
	d      *Dispatcher
	node   *Node
	client net.Conn
	server net.Conn
}

// Kill closes both ends; the relay then returns.
func (s *stream) Kill() {
	s.client.Close()
	s.server.Close()
}

func (s *stream) exit() *Node { return s.node }

// HandleStream finds the way of one stream, dials, answers the client, and
// returns when the flow is on its way or has failed. It owns in.Conn.
func (p *Port) HandleStream(ctx context.Context, in framework.Stream, f *framework.Flow) {
	defer p.d.recovered(f)
	underway := false
	defer func() {
		if !underway {
			in.Conn.Close()
		}
	}()
	s, err := p.open(ctx, in, f)
	if err != nil {
		if in.Client != nil {
			in.Client.Reply(err)
			sayGoodbye(in.Conn)
		}
		return
	}
	if in.Client != nil {
		err = in.Client.Reply(nil)
	}
	underway = true
	if err != nil {
		s.Kill()
		s.Ended(err)
		return
	}
	p.d.relay.Start(s.client, s.server, in.Head, &s.Flow, s)
}

// A client that still sends when its connection closes is reset, and may lose
// the answer with it. So a connection that was answered is read on a little;
// chosen: a second and a buffer are more than a request needs.
const (
	goodbyeTime  = time.Second
	goodbyeBytes = 64 << 10
)

// sayGoodbye ends the sending half of c and takes what the client still sends.
func sayGoodbye(c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(goodbyeTime))
	io.CopyN(io.Discard, c, goodbyeBytes)
}

// Ended closes the flow's entry and lets go of the outbound: both connections
// are closed.
func (s *stream) Ended(err error) {
	var boom *relay.PanicError
	if errors.As(err, &boom) {
		s.d.logPanic(boom.Value, string(boom.Stack), s.Inbound.Name)
		err = errPanic
	}
	s.Close(reason(err))
	s.node.Lease.Release()
}

// open finds the way, dials, and enters the flow into the table. After an
// error nothing is held.
func (p *Port) open(ctx context.Context, in framework.Stream, f *framework.Flow) (*stream, error) {
	v := p.d.visits.Get().(*visit)
	defer func() {
		*v = visit{passed: v.passed[:0]}
		p.d.visits.Put(v)
	}()
	s := &stream{d: p.d, client: in.Conn}
	s.Flow.Flow, s.Start = *f, time.Now()
	v.begin(ctx, p, &s.Flow.Flow)
	if err := v.decide(s.Start); err != nil {
		v.failed(err)
		return nil, err
	}
	server, err := v.dial(s.Start)
	if err != nil {
		v.failed(err)
		return nil, err
	}
	s.server, s.node = server, v.node
	v.fill(&s.Flow)
	s.RemoteIP = addrOf(server.RemoteAddr())
	if !s.DestinationIP.IsValid() && v.node.Type.Has(framework.CapDirect) {
		s.DestinationIP = s.RemoteIP
	}
	p.d.stats.Open(&s.Flow, s)
	v.logOpen()
	return s, nil
}

// dial opens the server's side. A dial that failed behind a group is tried
// again as long as the group names another exit and time is left. It keeps the
// hold on the exit that worked, and none after an error.
func (v *visit) dial(start time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(v.ctx, start.Add(dialTimeout))
	defer cancel()
	var tried []*Node
	for {
		began := time.Now()
		c, err := v.dialOnce(ctx)
		took := time.Since(began)
		v.report(took, err)
		if err == nil {
			v.node.Dials.Observe(took)
			return c, nil
		}
		failed := v.node
		failed.Lease.Release()
		if len(v.passed) == 0 || ctx.Err() != nil || len(tried) == maxTries {
			return nil, err
		}
		tried = append(tried, failed)
		if v.decideAgain(tried) != nil {
			return nil, err
		}
	}
}

// dialOnce turns a panic of the outbound into an error.
func (v *visit) dialOnce(ctx context.Context) (c net.Conn, err error) {
	defer func() {
		if r := recover(); r != nil {
			v.port.d.panicked(r, v.flow)
			c, err = nil, errPanic
		}
	}()
	return v.node.Outbound.DialStream(ctx, v.destination())
}

// decideAgain asks the outermost group anew and takes a hold on an exit that
// was not tried before.
func (v *visit) decideAgain(tried []*Node) error {
	failed, passed := v.node, v.passed
	node, again, err := v.snap.exit(passed[0].Name, v.flow, nil)
	if err != nil {
		return err
	}
	for _, t := range tried {
		if t == node {
			return errTried
		}
	}
	if !node.Lease.Acquire() {
		v.node, v.passed = failed, passed
		return errRetired
	}
	v.node, v.passed = node, again
	return nil
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		ip, _ := netip.AddrFromSlice(t.IP)
		return ip.Unmap()
	}
	if a == nil {
		return netip.Addr{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}

package dispatch

import (
	"context"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/session"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// HandlePackets serves the packets of one inbound until its socket ends.
func (p *Port) HandlePackets(ctx context.Context, s framework.PacketServer, o framework.Origin) {
	defer s.Close()
	if err := p.d.sessions.Serve(ctx, s, o, packetRouter{p}); err != nil && ctx.Err() == nil {
		p.d.log.Debug("packet server ended", "inbound", o.Name, "err", err)
	}
}

// packetRouter finds the way of each new (source, destination).
type packetRouter struct{ port *Port }

// packets is the entry of one (source, destination).
type packets struct {
	stats.Flow
	visit  visit
	killer session.Killer
}

func (p *packets) exit() *Node { return p.visit.node }

// Kill ends the route; the session then closes the entry.
func (p *packets) Kill() { p.killer.Kill() }

// Route resolves the name first, as rules for packets see an address always,
// and fails when there is none.
func (r packetRouter) Route(ctx context.Context, f *framework.Flow) (route session.Route, err error) {
	defer r.port.d.recovered(f)
	s := &packets{}
	s.Flow.Flow, s.Start = *f, time.Now()
	v := &s.visit
	v.begin(ctx, r.port, &s.Flow.Flow)
	if v.Resolve(); !v.ip.IsValid() {
		err := framework.Classed(framework.ErrUnreachable, errNoAddress)
		v.failed(err)
		return session.Route{}, err
	}
	if err := v.decide(s.Start); err != nil {
		v.failed(err)
		return session.Route{}, err
	}
	if v.node.Type.Has(framework.CapReject) {
		v.failed(framework.ErrRejected)
		return session.Route{Drop: true, Release: v.node.Lease.Release}, nil
	}
	v.fill(&s.Flow)
	r.port.d.stats.Open(&s.Flow, s)
	v.logOpen()
	return session.Route{
		Outbound: v.node,
		Dial:     v.dialPackets,
		To:       framework.Addr{IP: v.ip, Port: f.Destination.Port},
		Flow:     &s.Flow,
		Killer:   &s.killer,
		Release:  v.node.Lease.Release,
	}, nil
}

// dialPackets opens the packet conn that all routes of one source through the
// same exit share.
func (v *visit) dialPackets(ctx context.Context) (framework.PacketConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	c, err := v.dialPacketOnce(ctx)
	took := time.Since(began)
	v.report(took, err)
	if err != nil {
		v.logFailed(err)
		return nil, err
	}
	v.node.Dials.Observe(took)
	return c, nil
}

// dialPacketOnce turns a panic of the outbound into an error.
func (v *visit) dialPacketOnce(ctx context.Context) (c framework.PacketConn, err error) {
	defer func() {
		if r := recover(); r != nil {
			v.port.d.panicked(r, v.flow)
			c, err = nil, errPanic
		}
	}()
	return v.node.Outbound.DialPacket(ctx, framework.Addr{IP: v.ip, Port: v.to.Port})
}

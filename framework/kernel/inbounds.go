package kernel

import (
	"context"

	"github.com/culvert-proxy/culvert/framework"
)

// inbound is one that runs.
type inbound struct {
	key
	framework.Inbound
	owner *owner // of its sockets
	bound bool   // Start succeeded
}

// syncInbounds makes the inbounds that run those of g and named: it starts the
// new ones, then stops the old, so that a socket that both have never closes.
// It returns which top-level ports are open. The caller holds mu.
func (k *Kernel) syncInbounds(ctx context.Context, g *General, named []inboundSpec) map[string]bool {
	specs := append(append([]inboundSpec(nil), named...), k.planPorts(g)...)
	next, ports := map[string]*inbound{}, map[string]bool{}
	for _, s := range specs {
		if in := k.inbounds[s.name]; in != nil && in.key == s.key && in.bound {
			next[s.name] = in
		}
	}
	for name, old := range k.inbounds {
		if next[name] != old {
			old.owner.leaving.Store(true)
		}
	}
	for _, s := range specs {
		if next[s.name] == nil {
			next[s.name] = k.startInbound(ctx, &s)
		}
		ports[s.name] = next[s.name].bound
	}
	for name, old := range k.inbounds {
		if next[name] != old {
			k.stopInbound(old)
		}
	}
	k.inbounds = next
	return ports
}

// startInbound builds and starts an inbound. One that cannot bind is logged
// and kept as not bound, so that the next apply tries again.
func (k *Kernel) startInbound(ctx context.Context, s *inboundSpec) *inbound {
	h := k.host(framework.KindInbound, s.name, s.desc)
	in := &inbound{key: s.key, owner: h.owner}
	made, err := framework.Build[framework.Inbound](ctx, s.desc, h, s.source)
	if err == nil {
		if err = made.Start(k.ctx, k.dispatcher.Port(s.proxy, s.rule)); err == nil {
			in.Inbound, in.bound = made, true
			return in
		}
		made.Close()
	}
	h.log.Error("listener is not open", "err", err)
	return in
}

// stopInbound closes an inbound without waiting for it: it has stopped
// accepting when Close begins, and the rest takes as long as a handshake does.
func (k *Kernel) stopInbound(in *inbound) {
	if in.Inbound == nil {
		return
	}
	k.tasks.Go(func() { in.Inbound.Close() }) // ends when the inbound's goroutines did
}

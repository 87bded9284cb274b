package kernel

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// host is what one instance may ask of the kernel.
type host struct {
	k      *Kernel
	name   string
	labels stats.PluginLabels
	log    *slog.Logger
	dialer framework.Dialer
	owner  *owner // of the sockets of an inbound
}

func (k *Kernel) host(kind framework.Kind, name string, d framework.Descriptor) *host {
	return &host{k: k, name: name, owner: &owner{name: name},
		labels: stats.PluginLabels{Kind: string(kind), Type: d.Type, Name: name},
		log:    k.Log.With(string(kind), name, "type", d.Type),
		dialer: dialer.New(resolver{k}, dialer.Options{}, &k.dials)}
}

// outboundHost is the host of an outbound with the options that all have.
func (k *Kernel) outboundHost(s *nodeSpec) *host {
	h := k.host(s.kind, s.name, s.desc)
	if s.proxy.DialerProxy != "" {
		h.dialer = k.dispatcher.Through(s.proxy.DialerProxy)
		return h
	}
	h.dialer = dialer.New(resolver{k}, dialerOptions(&s.proxy), &k.dials)
	return h
}

func dialerOptions(c *configs.ProxyCommon) dialer.Options {
	version, _ := dialer.ParseIPVersion(c.IPVersion)
	return dialer.Options{Interface: c.InterfaceName, Mark: c.RoutingMark, IPVersion: version, TFO: c.TFO, MPTCP: c.MPTCP}
}

func (h *host) Name() string                   { return h.name }
func (h *host) Log() *slog.Logger              { return h.log }
func (h *host) Dialer() framework.Dialer       { return h.dialer }
func (h *host) Resolver() framework.Resolver   { return resolver{h.k} }
func (h *host) Dir() string                    { return h.k.Home }
func (h *host) Admission() framework.Admission { return &h.k.admission }

func (h *host) Count(metric string, n uint64) {
	l := h.labels
	l.Metric = metric
	h.k.Stats.CountPlugin(l, n)
}

func (h *host) Listen(ctx context.Context, address string) (net.Listener, error) {
	return h.k.sockets.listen(ctx, h.k.listenConfig(), h.owner, address)
}

func (h *host) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	return h.k.sockets.listenPacket(ctx, h.k.listenConfig(), h.owner, address)
}

// resolver finds addresses: `hosts:` first, then the system's resolver. It
// obeys the master switch for IPv6.
type resolver struct{ k *Kernel }

func (r resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if snap := r.k.dispatcher.Snapshot(); snap != nil && snap.Hosts != nil {
		alias, ips := snap.Hosts.Lookup(name)
		if len(ips) > 0 {
			return ips, nil
		}
		name = alias
	}
	return dialer.System{}.Lookup(ctx, name)
}

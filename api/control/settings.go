package control

import (
	"context"
	"net/netip"
	"strings"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/kernel"
)

// Settings are the settings in force, as rest.Configs.
func (c *Controller) Settings() rest.Settings {
	st := c.Kernel.State()
	g, doc := &st.General, st.Document
	return rest.Settings{
		Port: st.BoundPort("DEFAULT-HTTP"), SocksPort: st.BoundPort("DEFAULT-SOCKS"), MixedPort: st.BoundPort("DEFAULT-MIXED"),
		Tun:              tun(doc),
		Authentication:   userNames(g.Authentication),
		SkipAuthPrefixes: g.SkipAuthPrefixes, LANAllowedIPs: g.LanAllowedIPs, LANDisallowedIPs: g.LanDisallowedIPs,
		AllowLAN: g.AllowLAN, BindAddress: g.BindAddress, InboundTFO: g.InboundTFO, InboundMPTCP: g.InboundMPTCP,
		Mode: strings.ToLower(g.Mode), UnifiedDelay: g.UnifiedDelay, LogLevel: strings.ToLower(g.LogLevel), IPv6: g.IPv6,
		InterfaceName: g.InterfaceName, RoutingMark: g.RoutingMark,
		GeoXURL:       rest.GeoXURL{GeoIP: doc.GeoxURL.GeoIP, MMDB: doc.GeoxURL.MMDB, ASN: doc.GeoxURL.ASN, GeoSite: doc.GeoxURL.GeoSite},
		GeoAutoUpdate: doc.GeoAutoUpdate, GeoUpdateInterval: doc.GeoUpdateInterval, GeodataMode: doc.GeodataMode,
		GeodataLoader: doc.GeodataLoader, GeositeMatcher: doc.GeositeMatcher,
		TCPConcurrent: g.TCPConcurrent, FindProcessMode: strings.ToLower(g.FindProcessMode),
		GlobalFingerprint: g.ClientFingerprint, GlobalUA: g.GlobalUA, ETagSupport: g.ETagSupport,
		KeepAliveIdle: g.KeepAliveIdle, KeepAliveInterval: g.KeepAliveInterval, DisableKeepAlive: g.DisableKeepAlive,
	}
}

// userNames are the names of "name:password" entries, nil for none.
func userNames(entries []string) (names []string) {
	for _, e := range entries {
		if name, _, ok := strings.Cut(e, ":"); ok {
			names = append(names, name)
		}
	}
	return names
}

// tun is the state of a device that this build cannot open: off.
func tun(doc *configs.Document) rest.Tun {
	t := &doc.Tun
	out := rest.Tun{
		Device: t.Device, Stack: stackName(t.Stack), DNSHijack: t.DNSHijack,
		AutoRoute: t.AutoRoute, AutoDetectInterface: t.AutoDetectInterface, MTU: int(t.MTU),
		GSO: t.GSO, GSOMaxSize: int(t.GSOMaxSize), AutoRedirect: t.AutoRedirect, StrictRoute: t.StrictRoute,
		RouteAddress: t.RouteAddress, RouteExcludeAddress: t.RouteExcludeAddress,
		IncludeInterface: t.IncludeInterface, ExcludeInterface: t.ExcludeInterface,
		UDPTimeout: int64(t.UDPTimeout), FileDescriptor: t.FileDescriptor,
	}
	if p, err := netip.ParsePrefix(doc.DNS.FakeIPRange); err == nil {
		out.Inet4Address = []netip.Prefix{netip.PrefixFrom(p.Addr(), 30)}
	}
	return out
}

func stackName(s string) string {
	switch strings.ToLower(s) {
	case "system":
		return "System"
	case "mixed":
		return "Mixed"
	}
	return "gVisor"
}

// Patch changes settings, as rest.Configs.
func (c *Controller) Patch(ctx context.Context, p rest.Patch) error {
	return c.Kernel.Patch(ctx, kernel.Patch{
		Port: p.Port, SocksPort: p.SocksPort, MixedPort: p.MixedPort, RedirPort: p.RedirPort, TProxyPort: p.TProxyPort,
		Mode: p.Mode, LogLevel: p.LogLevel, FindProcessMode: p.FindProcessMode,
		AllowLAN: p.AllowLAN, IPv6: p.IPv6, TCPConcurrent: p.TCPConcurrent, UnifiedDelay: p.UnifiedDelay,
		BindAddress: p.BindAddress, InterfaceName: p.InterfaceName,
		SkipAuthPrefixes: p.SkipAuthPrefixes, LanAllowedIPs: p.LANAllowedIPs, LanDisallowedIPs: p.LANDisallowedIPs,
	})
}

package kernel

import (
	"context"
	"fmt"
	"net"

	"github.com/culvert-proxy/culvert/framework"
)

// What users' files name and this build does not have yet, with the REST API's
// spelling. A file that names one loads with a warning: the proxy is never
// alive, the listener is not opened, the rule never holds. A row goes when its
// plugin comes.
var (
	notBuiltOutbounds = map[string]string{
		"ss": "Shadowsocks", "ssr": "ShadowsocksR", "snell": "Snell", "vmess": "Vmess", "vless": "Vless",
		"trojan": "Trojan", "hysteria": "Hysteria", "hysteria2": "Hysteria2", "wireguard": "WireGuard",
		"tuic": "Tuic", "ssh": "Ssh", "mieru": "Mieru", "anytls": "AnyTLS", "dns": "Dns", "rematch": "Rematch",
		"sudoku": "Sudoku", "masque": "Masque", "trusttunnel": "TrustTunnel", "shadowquic": "ShadowQuic",
		"openvpn": "OpenVPN", "tailscale": "Tailscale", "zerotier": "ZeroTier", "gost-relay": "GostRelay",
	}
	notBuiltGroups = map[string]struct{ label, instead string }{
		"relay": {"Relay", "set dialer-proxy on the proxies to chain them"},
	}
	// The value is the keys that must be there, as the facts have them.
	notBuiltInbounds = map[string][]string{
		"tunnel": {"network", "target"}, "redir": nil, "tproxy": nil, "tun": nil,
		"shadowsocks": {"cipher", "password"}, "vmess": {"users"}, "vless": {"users"}, "trojan": {"users"},
		"hysteria2": {"certificate", "private-key", "users"}, "tuic": {"certificate", "private-key"},
		"anytls": {"certificate", "private-key"}, "snell": {"psk"}, "mieru": {"users"}, "sudoku": {"key"},
		"trusttunnel": {"users"}, "shadowquic": {"users"}, "hysteria2-realm": nil,
	}
	notBuiltRules = map[string]string{
		"RULE-SET": "RuleSet", "REMATCH-NAME": "RematchName",
	}
)

// notBuilt describes an outbound that is there by name only.
func notBuilt(typ, label string) framework.Descriptor {
	return framework.NewOutbound(typ, func() struct{} { return struct{}{} },
		func(context.Context, framework.Host, struct{}) (framework.Outbound, error) {
			return unavailable{typ}, nil
		},
		framework.WithLabel(label), framework.WithCaps(framework.CapPacket))
}

// unavailable is the outbound of a type that is not built.
type unavailable struct{ typ string }

func (u unavailable) err() error {
	return framework.Classed(framework.ErrUnavailable, fmt.Errorf("proxies of type %s are not built yet", u.typ))
}

func (u unavailable) DialStream(context.Context, framework.Addr) (net.Conn, error) {
	return nil, u.err()
}

func (u unavailable) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, u.err()
}

func (unavailable) Close() error { return nil }

// anything is a Source whose keys nobody reads.
type anything struct{}

func (anything) Decode(any) error { return nil }

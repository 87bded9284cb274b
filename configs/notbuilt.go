package configs

import (
	"fmt"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// notBuilt is the keys that are known and that nothing acts on: each is a
// warning when it is set to something other than its default or inert, which
// is one more value that needs nothing. A row goes when its feature comes.
var notBuilt = []struct{ path, inert string }{
	{"redir-port", ""},
	{"tproxy-port", ""},
	{"ss-config", ""},
	{"vmess-config", ""},
	{"global-client-fingerprint", ""},
	{"global-ua", ""},
	{"etag-support", ""},
	{"geo-auto-update", ""},
	{"geo-update-interval", ""},
	{"geox-url", ""},
	{"external-controller-pipe", ""},
	{"external-controller-routing-mark", ""},
	{"external-doh-server", ""},
	{"external-ui-name", ""},
	{"external-ui-url", ""},
	{"profile.store-fake-ip", ""},
	{"tls.client-auth-type", ""},
	{"tls.client-auth-cert", ""},
	{"tls.ech-key", ""},
	{"tls.custom-certifactes", ""},
	{"experimental.quic-go-disable-gso", ""},
	{"experimental.quic-go-disable-ecn", ""},
	{"experimental.dialer-ip4p-convert", ""},
	{"dns.enable", ""},
	{"tun.enable", ""},
	{"sniffer.enable", ""},
	{"ntp.enable", ""},
	{"iptables.enable", ""},
	{"tuic-server.enable", ""},
	{"tunnels", ""},
	{"proxy-providers", ""},
	{"rule-providers", ""},
}

// withoutEffect is a warning for each key of d that nothing acts on.
func (d *Document) withoutEffect() conf.Problems {
	var out conf.Problems
	is, was := conf.Values(d), conf.Values(Default())
	for _, row := range notBuilt {
		at, got, def := d.Tree.Root(), any(is), any(was)
		for key := range strings.SplitSeq(row.path, ".") {
			at, got, def = at.Get(key), member(got, key), member(def, key)
		}
		text := fmt.Sprint(got)
		secret := strings.HasSuffix(row.path, "ech-key") && at.Exists()
		if at.Exists() && (secret || text != fmt.Sprint(def) && text != row.inert && !empty(got)) {
			out = append(out, at.Warnf("known, but not built yet: has no effect"))
		}
	}
	return out
}

func member(v any, key string) any {
	m, _ := v.(map[string]any)
	return m[key]
}

func empty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return false
}

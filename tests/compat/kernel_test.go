package compat_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/compat"
	"github.com/culvert-proxy/culvert/tests/harness"
)

// recordedConfig is the configuration of the recordings without what needs
// their helper servers or is not built: providers, DNS, and GEOIP and RULE-SET
// rules. Its ports are others.
const recordedConfig = `
mixed-port: %MIXED%
allow-lan: false
mode: rule
log-level: debug
ipv6: false
find-process-mode: "off"
secret: parity-secret
external-controller: "%API%"
external-ui: ui
geox-url:
  geoip: http://127.0.0.1:29099/geoip.dat
  geosite: http://127.0.0.1:29099/geosite.dat
  mmdb: http://127.0.0.1:29099/country.mmdb
  asn: http://127.0.0.1:29099/asn.mmdb
profile: {store-selected: true, store-fake-ip: false}
proxies:
  - {name: ss-up, type: ss, server: 127.0.0.1, port: 29013, cipher: aes-128-gcm, password: pw, udp: true}
  - {name: up-socks, type: socks5, server: 127.0.0.1, port: 29014, udp: true}
  - {name: socks-a, type: socks5, server: 127.0.0.1, port: 29011, udp: true}
  - {name: socks-b, type: socks5, server: 127.0.0.1, port: 29012}
  - {name: "节点 %/1", type: socks5, server: 127.0.0.1, port: 29011}
  - {name: over-a, type: socks5, server: 127.0.0.1, port: 29012, dialer-proxy: socks-a}
  - {name: ss-dead, type: ss, server: 127.0.0.1, port: 29099, cipher: aes-128-gcm, password: pw, udp: true}
  - {name: direct-a, type: direct}
proxy-groups:
  - {name: Proxy, type: select, proxies: [auto, fall, lb, ss-up, up-socks, socks-a, socks-b, "节点 %/1", over-a, ss-dead, direct-a, DIRECT, REJECT], icon: "https://icons.example/p.png"}
  - {name: auto, type: url-test, proxies: [socks-a, socks-b, ss-dead], url: "http://127.0.0.1:29080/generate_204", interval: 3600, tolerance: 500}
  - {name: fall, type: fallback, proxies: [ss-dead, socks-a, socks-b], url: "http://127.0.0.1:29080/generate_204", interval: 3600, expected-status: "204"}
  - {name: lb, type: load-balance, strategy: round-robin, proxies: [socks-a, socks-b], url: "http://127.0.0.1:29080/generate_204", interval: 3600}
  - {name: dead, type: select, proxies: [ss-dead]}
  - {name: "组/100% x", type: select, proxies: [socks-a, socks-b]}
sub-rules:
  sub1:
    - DOMAIN-SUFFIX,sub.test,Proxy
    - MATCH,DIRECT
rules:
  - DOMAIN,origin.test,Proxy
  - DOMAIN-SUFFIX,suffix.test,auto
  - AND,((DOMAIN-SUFFIX,and.test),(NETWORK,tcp)),REJECT
  - SUB-RULE,(DOMAIN-SUFFIX,sub.test),sub1
  - MATCH,Proxy
`

// elsewhere are the recordings that the real kernel is not asked for, by
// prefix: they need helper servers at fixed ports, a second configuration or a
// part that is not built. The test over fakes compares all of them.
var elsewhere = []string{
	"after-", "connections-get", "connections-ws", "cors-list-", "configs-patch-err-port-busy", "configs-patch-mixed-port", "delay-", "dns-",
	"doh-", "group-delay", "group-list", "group-one", "logs-", "minimal-", "nodebug-", "nodns-", "nosecret-", "pin", "provider", "proxies-get", "proxy-after", "proxy-dead",
	"proxy-get-GLOBAL", "proxy-get-file", "restart", "rule-provider", "rules-get", "rules-providers", "select-ok", "tls-", "traffic-ws-under-load", "unix-", "group-node", "configs-put-path-in-home",
	"configs-put-payload", "configs-put-err-provider", "configs-put-err-ui-outside-home", "unpin-urltest",
}

// TestKernelAnswersAsRecorded replays against the binary.
func TestKernelAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	all, err := compat.Load("testdata/v1.19.30")
	if err != nil {
		t.Fatal(err)
	}
	k := harness.Start(t, strings.ReplaceAll(recordedConfig, "%MIXED%", "0"))
	ui := filepath.Join(k.Home, "ui")
	if err := os.CopyFS(ui, os.DirFS(userInterface(t))); err != nil {
		t.Fatal(err)
	}
	target := compat.Target{Addr: strings.TrimPrefix(k.API, "http://"), Secret: "parity-secret", Home: k.Home}
	asked := 0
	for _, r := range all {
		if hasPrefix(r.Name, elsewhere) {
			continue
		}
		asked++
		target.Depth = compat.Values
		if strings.HasPrefix(r.Name, "proxy-get") || strings.HasPrefix(r.Name, "configs-get") {
			target.Depth = compat.Shape // delays and ports are of another run
		}
		t.Run(r.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for _, d := range target.Replay(ctx, r) {
				t.Error(d)
			}
		})
	}
	if asked < 80 {
		t.Errorf("%d recordings replayed, want 80 at least", asked)
	}
}

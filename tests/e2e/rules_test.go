package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// systemName is a name of loopback that only the system's file of hosts knows.
func systemName(t *testing.T) (name, ip string) {
	t.Helper()
	data, _ := os.ReadFile("/etc/hosts")
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 1 && (f[0] == "127.0.0.1" || f[0] == "::1") && f[len(f)-1] != "localhost" {
			return f[len(f)-1], f[0]
		}
	}
	require.That(t, false, "a name of loopback beside localhost in /etc/hosts")
	return "", ""
}

// ruled is a kernel with two upstreams that the origin tells apart, and a rule
// of each type.
type ruled struct {
	open
	a, b                                 peer
	inName, inPort, forced, sub, srcPort int // ports
}

func startRuled(t *testing.T, dstPort int) ruled {
	t.Helper()
	k := ruled{a: microsocks(t, "127.0.2.1", false), b: microsocks(t, "127.0.2.2", false), inName: harness.Port(t),
		inPort: harness.Port(t), forced: harness.Port(t), sub: harness.Port(t), srcPort: harness.Port(t)}
	k.open = startOpen(t, fmt.Sprintf(`
proxies:
  - %s
  - %s
listeners:
  - {name: side door, type: mixed, listen: 127.0.0.1, port: %d}
  - {name: numbered, type: socks, listen: 127.0.0.1, port: %d}
  - {name: forced, type: mixed, listen: 127.0.0.1, port: %d, proxy: B}
  - {name: sub, type: mixed, listen: 127.0.0.1, port: %d, rule: short}
sub-rules:
  short: ["DOMAIN,exact.test,B"]
rules:
  - DOMAIN,exact.test,A
  - DOMAIN-SUFFIX,suffix.test,B
  - DOMAIN-KEYWORD,keyw,A
  - SRC-IP-CIDR,127.0.5.0/24,B
  - SRC-PORT,%d,A
  - DST-PORT,%d,B
  - IN-PORT,%[7]d-%[7]d/%[4]d,A
  - IN-NAME,side door,B
  - IN-TYPE,SOCKS4,A
  - IP-CIDR,127.0.3.0/24,B,no-resolve
  - IP-CIDR,127.0.0.1/32,B,no-resolve
  - IP-CIDR6,::1/128,REJECT,no-resolve
  - IP-CIDR,127.0.4.1/32,A
  - IP-CIDR,127.0.0.0/8,A
  - IP-CIDR6,::/64,DIRECT
  - NETWORK,tcp,REJECT
  - MATCH,REJECT
`, outbound("A", "socks5", k.a, ""), outbound("B", "socks5", k.b, ""),
		k.inName, k.inPort, k.forced, k.sub, k.srcPort, dstPort))
	return k
}

// ruleCase is a flow and the way that it takes.
type ruleCase struct {
	host   string // as curl says it
	listen string // of the origin, "" is 127.0.0.1
	args   []string
	exit   string
	rule   string
}

func ruleCases(k ruled) []ruleCase {
	mixed := []string{"-x", at("socks5h", k.mixed)}
	return []ruleCase{
		{"exact.test", "", mixed, "A", "Domain(exact.test)"},
		{"EXACT.Test", "", mixed, "A", "Domain(exact.test)"},
		{"not-exact.test", "", mixed, "B", "IPCIDR(127.0.0.1/32)"},
		{"suffix.test", "", mixed, "B", "DomainSuffix(suffix.test)"},
		{"a.b.suffix.test", "", mixed, "B", "DomainSuffix(suffix.test)"},
		{"xsuffix.test", "", mixed, "B", "IPCIDR(127.0.0.1/32)"},
		{"a.keyword.test", "", mixed, "A", "DomainKeyword(keyw)"},
		{"127.0.3.7", "127.0.3.7", mixed, "B", "IPCIDR(127.0.3.0/24)"},
		{"four.test", "127.0.4.1", mixed, "A", "IPCIDR(127.0.4.1/32)"},
		{"127.0.9.9", "127.0.9.9", mixed, "A", "IPCIDR(127.0.0.0/8)"},
		{"127.0.0.1", "", append(mixed, "--interface", "127.0.5.5"), "B", "SrcIPCIDR(127.0.5.0/24)"},
		{"127.0.0.1", "", append(mixed, "--local-port", fmt.Sprint(k.srcPort)), "A", fmt.Sprintf("SrcPort(%d)", k.srcPort)},
		{"127.0.0.1", "", []string{"-x", at("socks5", k.inPort)}, "A", fmt.Sprintf("InPort(%[1]d-%[1]d/%[2]d)", k.srcPort, k.inPort)},
		{"127.0.0.1", "", []string{"-x", at("http", k.inName)}, "B", "InName(side door)"},
		{"127.0.0.1", "", []string{"-x", at("socks4", k.mixed)}, "A", "InType(SOCKS4)"},
		{"exact.test", "", []string{"-x", at("socks5h", k.forced)}, "B", "()"},
		{"exact.test", "", []string{"-x", at("socks5h", k.sub)}, "B", "Domain(exact.test)"},
		{"a.keyword.test", "", []string{"-x", at("socks5h", k.sub)}, "DIRECT", "()"},
	}
}

func TestEachRuleTypeLeadsItsFlows(t *testing.T) {
	t.Parallel()
	atPort := newOrigin(t, "127.0.0.1")
	k := startRuled(t, atPort.port)
	mixed := []string{"-x", at("socks5h", k.mixed)}
	remote := map[string]string{"A": k.a.from, "B": k.b.from, "DIRECT": "127.0.0.1"}

	for _, c := range ruleCases(k) {
		t.Run(c.host+" "+c.rule, func(t *testing.T) {
			t.Parallel()
			if c.listen == "" {
				c.listen = "127.0.0.1"
			}
			o := newOrigin(t, c.listen)
			_, f := holding(t, k.Culvert, o, c.host, c.args...)
			checkFlow(t, f, c.exit, c.rule, remote[c.exit])
		})
	}
	t.Run("destination port", func(t *testing.T) {
		t.Parallel()
		_, f := holding(t, k.Culvert, atPort, "127.0.0.1", mixed...)
		checkFlow(t, f, "B", fmt.Sprintf("DstPort(%d)", atPort.port), k.b.from)
	})
	t.Run("a rule with no-resolve waits for no name", func(t *testing.T) {
		t.Parallel()
		name, ip := systemName(t)
		_, f := holding(t, k.Culvert, newOrigin(t, ip), name, mixed...)
		if ip == "::1" {
			checkFlow(t, f, "DIRECT", "IPCIDR(::/64)", "::1")
		} else {
			checkFlow(t, f, "A", "IPCIDR(127.0.0.0/8)", k.a.from)
		}
	})
	t.Run("a datagram passes outbounds without UDP", func(t *testing.T) {
		t.Parallel()
		server := echoUDP(t)
		x := associate(t, k.sub)
		x.ask(t, "other.test", server.Port, "hello")
		checkFlow(t, flow(t, k.Culvert, server.Port), "DIRECT", "()", "")
	})
}

func checkFlow(t *testing.T, f connection, exit, rule, remote string) {
	t.Helper()
	if got := fmt.Sprintf("%s(%s)", f.Rule, f.RulePayload); got != rule || fmt.Sprint(f.Chains) != "["+exit+"]" || f.remote != remote {
		t.Errorf("got %v by %s, origin saw %q, want [%s] by %s, %q", f.Chains, got, f.remote, exit, rule, remote)
	}
}

func TestDatagramRulesSkipWhatCarriesNone(t *testing.T) {
	t.Parallel()
	m := microsocks(t, "127.0.2.3", false)
	k := startOpen(t, fmt.Sprintf(`
proxies: [%s]
rules:
  - NETWORK,udp,A
  - IP-CIDR,127.0.0.1/32,A
  - NETWORK,udp,DIRECT
  - MATCH,A
`, outbound("A", "socks5", m, ", udp: false")))
	server, o := echoUDP(t), newOrigin(t, "127.0.0.1")

	associate(t, k.mixed).ask(t, "origin.test", server.Port, "hello")
	_, f := holding(t, k.Culvert, o, "origin.test", "-x", at("socks5h", k.mixed))

	checkFlow(t, flow(t, k.Culvert, server.Port), "DIRECT", "Network(udp)", "")
	checkFlow(t, f, "A", "IPCIDR(127.0.0.1/32)", m.from)
}

func TestModeDecidesWhetherRulesCount(t *testing.T) {
	t.Parallel()
	m := microsocks(t, "127.0.2.4", false)
	k := startOpen(t, fmt.Sprintf("proxies: [%s]\nrules: [\"MATCH,A\"]\n", outbound("A", "socks5", m, "")))
	x := []string{"-x", at("socks5h", k.mixed)}
	patch := func(mode string) {
		t.Helper()
		if status, body := k.Call(t, http.MethodPatch, "/configs", map[string]string{"mode": mode}); status != http.StatusNoContent {
			t.Fatalf("mode %s: %d %s", mode, status, body)
		}
	}
	check := func(chains, rule, remote string) {
		t.Helper()
		o := newOrigin(t, "127.0.0.1")
		_, f := holding(t, k.Culvert, o, "origin.test", x...)
		if fmt.Sprint(f.Chains) != chains || f.Rule != rule || f.remote != remote {
			t.Errorf("got %v by %q, origin saw %s, want %s by %q, %s", f.Chains, f.Rule, f.remote, chains, rule, remote)
		}
	}

	check("[A]", "Match", m.from)
	patch("global")
	check("[DIRECT GLOBAL]", "", "127.0.0.1")
	if status, body := k.Call(t, http.MethodPut, "/proxies/GLOBAL", map[string]string{"name": "A"}); status != http.StatusNoContent {
		t.Fatalf("select: %d %s", status, body)
	}
	check("[A GLOBAL]", "", m.from)
	patch("direct")
	check("[DIRECT]", "", "127.0.0.1")
	patch("rule")
	check("[A]", "Match", m.from)

	if r := rules(t, k.Culvert); len(r) != 1 || r[0].Type != "Match" || r[0].Extra.HitCount != 2 {
		t.Errorf("got rules %+v, want one that matched twice", r)
	}
}

// rule is an entry of /rules.
type rule struct {
	Type, Payload, Proxy string
	Extra                struct{ HitCount int }
}

func rules(t *testing.T, k *harness.Culvert) []rule {
	t.Helper()
	var all struct{ Rules []rule }
	k.Get(t, "/rules", &all)
	return all.Rules
}

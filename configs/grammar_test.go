package configs

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

func mapOfDefaults() map[string]any { return conf.Values(Default()) }

func TestPortRanges(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]uint16{
		"": nil, "*": nil, "80": {80}, "1,3-5": {1, 3, 4, 5}, "5-3": {3, 4, 5}, " [80] / 81-82,80 ": {80, 81, 82}, "65535": {65535},
	} {
		if got, err := ParsePorts(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "80-", "-80", "1-2-3", "65536", "70000-70001", "0x50", "1.5", strings.Repeat("1,", 28) + "1"} {
		if got, err := ParsePorts(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
	if _, err := ParsePorts(strings.Repeat("1,", 27) + "1"); err != nil {
		t.Errorf("28 pieces: %v", err)
	}
}

func TestDomainPatterns(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a.com", "*.a.com", "+.a.com", ".a.com", "time.*.com", "*", "Mijia Cloud", "a*b.t", "+.*.pw.t", "localhost"} {
		if err := CheckPattern(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "a..b", "a.com.", " a.com", "a.com ", "\ta", ".", "..a.com"} {
		if CheckPattern(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestNameservers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Nameserver{
		"1.1.1.1":            {Scheme: "udp", Host: "1.1.1.1", Port: 53},
		"1.1.1.1:5353":       {Scheme: "udp", Host: "1.1.1.1", Port: 5353},
		"[2606::1]:54":       {Scheme: "udp", Host: "2606::1", Port: 54},
		"2606::1":            {Scheme: "udp", Host: "2606::1", Port: 53},
		"[2606::1]":          {Scheme: "udp", Host: "2606::1", Port: 53},
		"dns.google":         {Scheme: "udp", Host: "dns.google", Port: 53},
		"tcp://h:5":          {Scheme: "tcp", Host: "h", Port: 5},
		"TLS://8.8.8.8#eth0": {Scheme: "tls", Host: "8.8.8.8", Port: 853, Via: "eth0"},
		"https://u:p@h:8443/q?x=1#Proxy&h3=true": {
			Scheme: "https", Host: "h", Port: 8443, Path: "/q", User: "u:p", Via: "Proxy", Params: []string{"h3=true"},
		},
		"http://h/q":      {Scheme: "http", Host: "h", Port: 80, Path: "/q"},
		"quic://h":        {Scheme: "quic", Host: "h", Port: 853},
		"system":          {Scheme: "system"},
		"System://":       {Scheme: "system"},
		"dhcp://eth0":     {Scheme: "dhcp", Host: "eth0"},
		"dhcp://system":   {Scheme: "system"},
		"rcode://refused": {Scheme: "rcode", Host: "refused"},
		"1.1.1.1#RULES&ecs=zzz&disable-ipv6": {
			Scheme: "udp", Host: "1.1.1.1", Port: 53, Via: "RULES", Params: []string{"ecs=zzz", "disable-ipv6"},
		},
	} {
		var got Nameserver
		if err := got.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want.Raw = text
		if got.Scheme != want.Scheme || got.Host != want.Host || got.Port != want.Port || got.Path != want.Path ||
			got.User != want.User || got.Via != want.Via || !slices.Equal(got.Params, want.Params) || got.Raw != want.Raw {
			t.Errorf("%s:\n got %+v\nwant %+v", text, got, want)
		}
	}
	for _, text := range []string{"", "h3://1.1.1.1", "udp://1.1.1.1:abc", "rcode://foo", "tls://", "https:///q", "a b", "https://%zz", "1.1.1.1:99999"} {
		var got Nameserver
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken: %+v", text, got)
		}
	}
}

func rules(t *testing.T, lines ...string) []conf.Node {
	t.Helper()
	tree, err := conf.Parse("c.yaml", []byte("rules:\n- '"+strings.Join(lines, "'\n- '")+"'\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Root().Get("rules").Items()
}

func TestRuleLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]RuleLine{
		"DOMAIN-SUFFIX , spaced.example , g1":                {Type: "DOMAIN-SUFFIX", Payload: "spaced.example", Target: "g1"},
		"domain,x,DIRECT":                                    {Type: "DOMAIN", Payload: "x", Target: "DIRECT"},
		"MATCH,g1,extra":                                     {Type: "MATCH", Target: "g1"},
		"MATCH,foo,DIRECT":                                   {Type: "MATCH", Target: "foo"},
		"IP-CIDR,10.0.0.0/8,DIRECT,no-resolve,src":           {Type: "IP-CIDR", Payload: "10.0.0.0/8", Target: "DIRECT", Params: []string{"no-resolve", "src"}},
		"IP-CIDR,10.0.0.0/8,DIRECT,NO-RESOLVE":               {Type: "IP-CIDR", Payload: "10.0.0.0/8", Target: "DIRECT"},
		"AND,((NETWORK,UDP),(DST-PORT,443)),REJECT":          {Type: "AND", Payload: "((NETWORK,UDP),(DST-PORT,443))", Target: "REJECT"},
		"DOMAIN-REGEX,^a{1,2},DIRECT":                        {Type: "DOMAIN-REGEX", Payload: "^a{1,2}", Target: "DIRECT"},
		"DOMAIN-REGEX,^a,DIRECT,no-resolve":                  {Type: "DOMAIN-REGEX", Payload: "^a,DIRECT", Target: "no-resolve"},
		"SUB-RULE,(OR,((NETWORK,UDP),(DST-PORT,443))),guest": {Type: "SUB-RULE", Payload: "(OR,((NETWORK,UDP),(DST-PORT,443)))", Target: "guest"},
		"FINAL,x,DIRECT":                                     {Type: "FINAL", Payload: "x", Target: "DIRECT"},
	} {
		got, problems := ParseRule(rules(t, text)[0])
		if len(problems.Errors()) > 0 || got.Type != want.Type || got.Payload != want.Payload || got.Target != want.Target || !slices.Equal(got.Params, want.Params) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", text, got, problems, want)
		}
	}
	for _, text := range []string{"MATCH", "DOMAIN,DIRECT", "DOMAIN-SUFFIX,DIRECT", "DOMAIN,,DIRECT", "DOMAIN,x,", ",x,DIRECT", "AND,DIRECT", "MATCH,", ""} {
		if got, problems := ParseRule(rules(t, text)[0]); len(problems.Errors()) == 0 {
			t.Errorf("%q is taken: %+v", text, got)
		}
	}
}

func TestRuleLineIsTheSourceOfItsRule(t *testing.T) {
	t.Parallel()
	d := framework.NewRule("IP-CIDR", "IPCIDR", func(a framework.RuleArgs) (framework.Rule, error) {
		_, err := netip.ParsePrefix(a.Payload)
		return nil, err
	})
	good, _ := ParseRule(rules(t, "IP-CIDR,10.0.0.0/8,DIRECT")[0])
	bad, _ := ParseRule(rules(t, "IP-CIDR,10.0.0.0/33,DIRECT")[0])

	if err := d.Check(good.Source()); err != nil {
		t.Error(err)
	}
	if d.Check(bad.Source()) == nil {
		t.Error("10.0.0.0/33 is taken")
	}
	if got, want := bad.Errorf("not a prefix").String(), "c.yaml:2:3: rules[0] IP-CIDR,10.0.0.0/33: not a prefix"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostsTable(t *testing.T) {
	t.Parallel()
	d := mustLoad(t, "hosts:\n  Router.LAN: 192.168.1.1\n  nas.lan: [192.168.1.2, '::ffff:1.2.3.4', fd00::2]\n  'a..b': 1.1.1.1\n  alias.x: [Target.Example]\n  own.lan: lan\n", Input{})

	var got []string
	for _, h := range d.Hosts {
		text := h.Pattern + "=" + h.Alias
		for _, ip := range h.Addrs {
			text += ip.String() + " "
		}
		if h.LAN {
			text += "lan"
		}
		got = append(got, text)
	}
	want := []string{"router.lan=192.168.1.1 ", "nas.lan=192.168.1.2 1.2.3.4 fd00::2 ", "alias.x=target.example", "own.lan=lan"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(d.Warnings) != 1 {
		t.Errorf("warnings: %v", d.Warnings)
	}
}

func TestSectionsAreParsed(t *testing.T) {
	t.Parallel()
	d := mustLoad(t, `
dns:
  nameserver-policy: {"b.com,c.com": [1.1.1.1, tls://8.8.8.8], "geosite:cn,private": system, a.com: rcode://success}
sniffer:
  override-destination: false
  sniff: {http: {ports: [80, 8080-8880], override-destination: true}, TLS: , QUIC: {}}
tun: {route-address: [1.0.0.0/8], inet4-route-address: [2.0.0.0/8], inet6-address: fd00::1/126}
tunnels: ["tcp/udp , 127.0.0.1:1 , a:80 , DIRECT", {network: [udp], address: x, target: y}]
`, Input{})

	p := d.DNS.Policy
	if len(p) != 3 || !slices.Equal(p[0].Keys, []string{"b.com", "c.com"}) || !slices.Equal(p[1].Keys, []string{"geosite:cn", "geosite:private"}) || len(p[0].Servers) != 2 {
		t.Errorf("policy: %+v", p)
	}
	s := d.Sniffer.Sniff
	if len(s) != 3 || s[0].Protocol != "HTTP" || !s[0].OverrideDestination || s[1].OverrideDestination ||
		!slices.Equal(s[0].Ports, []PortRange{{80, 80}, {8080, 8880}}) || !slices.Equal(s[2].Ports, []PortRange{{443, 443}}) {
		t.Errorf("sniff: %+v", s)
	}
	if len(d.Tun.RouteAddress) != 2 || len(d.Tun.Inet6Address) != 1 {
		t.Errorf("tun: %v %v", d.Tun.RouteAddress, d.Tun.Inet6Address)
	}
	if len(d.Tunnels) != 2 || !slices.Equal(d.Tunnels[0].Networks, []string{"tcp", "udp"}) || d.Tunnels[0].Proxy != "DIRECT" || d.Tunnels[1].Target != "y" {
		t.Errorf("tunnels: %+v", d.Tunnels)
	}
}

func TestListenerPorts(t *testing.T) {
	t.Parallel()
	d := mustLoad(t, "listeners:\n- {type: socks, port: '1,3-4', UDP: true, name: 5}\n- {type: http, listen: '::1'}\n- {type: http, port: 0}\n", Input{})
	var got []ListenerCommon
	for _, n := range d.Listeners {
		c, p := DecodeListener(n)
		if len(p) > 0 {
			t.Error(p)
		}
		got = append(got, c)
	}

	if !slices.Equal(got[0].Ports, []uint16{1, 3, 4}) || got[0].Listen != netip.IPv4Unspecified() || got[0].Name != "5" {
		t.Errorf("got %+v", got[0])
	}
	if got[1].Ports != nil || got[2].Ports != nil || got[1].Listen != netip.IPv6Loopback() {
		t.Errorf("got %+v, %+v", got[1], got[2])
	}
}

func FuzzNameserver(f *testing.F) {
	for _, s := range []string{"1.1.1.1", "https://u:p@h:1/q?x#a&b=c", "[::1]:53", "rcode://success", "tls://[::1", "://", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var n Nameserver
		if n.UnmarshalText([]byte(s)) == nil && n.Scheme == "" {
			t.Errorf("%q has no scheme", s)
		}
	})
}

func FuzzPorts(f *testing.F) {
	for _, s := range []string{"1,3-5", "*", "[1]/2", "0-65535", "5-3", "1--2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := ParsePorts(s); err == nil && len(got) > 65536 {
			t.Errorf("%q: %d ports", s, len(got))
		}
	})
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"MATCH,DIRECT", "AND,((A,b),(C,d)),X", "DOMAIN,a,B,no-resolve", ",,,", "SUB-RULE,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, p := parseRule(conf.Node{}, s)
		if len(p.Errors()) == 0 && (r.Type == "" || r.Target == "") {
			t.Errorf("%q: %+v", s, r)
		}
	})
}

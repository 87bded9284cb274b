package configs

import (
	"net/netip"
	"slices"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// ProxyCommon is the keys of a proxy that the kernel reads.
type ProxyCommon struct {
	Name          string    `yaml:"name" required:"true" doc:"unique name"`
	Type          string    `yaml:"type" required:"true" doc:"protocol"`
	UDP           bool      `yaml:"udp" doc:"carry UDP"`
	IPVersion     string    `yaml:"ip-version" doc:"dual, ipv4, ipv6, ipv4-prefer or ipv6-prefer"`
	InterfaceName string    `yaml:"interface-name" doc:"interface that the sockets use"`
	RoutingMark   int       `yaml:"routing-mark" doc:"SO_MARK of the sockets, Linux"`
	TFO           bool      `yaml:"tfo" doc:"TCP fast open"`
	MPTCP         bool      `yaml:"mptcp" doc:"multipath TCP"`
	DialerProxy   string    `yaml:"dialer-proxy" doc:"proxy or group to connect through"`
	Smux          conf.Node `yaml:"smux" doc:"several streams in one connection"`
}

// GroupCommon is the keys of a group that the kernel reads: all but those of
// one group type.
type GroupCommon struct {
	Name                string   `yaml:"name" required:"true" doc:"unique name"`
	Type                string   `yaml:"type" required:"true" doc:"how a member is picked"`
	Proxies             []string `yaml:"proxies" doc:"members: proxies, groups, built-ins"`
	Use                 []string `yaml:"use" doc:"proxy-providers whose proxies are members"`
	IncludeAll          bool     `yaml:"include-all" doc:"all proxies and all providers"`
	IncludeAllProxies   bool     `yaml:"include-all-proxies" doc:"all proxies"`
	IncludeAllProviders bool     `yaml:"include-all-providers" doc:"all providers"`
	Filter              string   `yaml:"filter" doc:"regular expressions, joined by a backtick, of names to take from providers"`
	ExcludeFilter       string   `yaml:"exclude-filter" doc:"regular expressions, joined by a backtick, of names to drop"`
	ExcludeType         string   `yaml:"exclude-type" doc:"types to drop, joined by |"`
	URL                 string   `yaml:"url" doc:"URL of the health test"`
	Interval            int      `yaml:"interval" doc:"seconds between health tests"`
	Timeout             int      `yaml:"timeout" doc:"milliseconds of a health test"`
	Lazy                bool     `yaml:"lazy" doc:"test only what is used"`
	ExpectedStatus      string   `yaml:"expected-status" doc:"HTTP statuses of a good health test"`
	MaxFailedTimes      int      `yaml:"max-failed-times" doc:"failed dials before a test is forced"`
	DisableUDP          bool     `yaml:"disable-udp" doc:"carry no UDP"`
	Hidden              bool     `yaml:"hidden" doc:"for dashboards: do not show"`
	Icon                string   `yaml:"icon" doc:"for dashboards: an image"`
	InterfaceName       string   `yaml:"interface-name" doc:"deprecated: set it on the proxies"`
	RoutingMark         int      `yaml:"routing-mark" doc:"deprecated: set it on the proxies"`
	EmptyFallback       string   `yaml:"empty-fallback" doc:"outbound when there are no members"`
}

// ListenerCommon is the keys of a listener that the kernel reads.
type ListenerCommon struct {
	Name        string     `yaml:"name" doc:"unique name"`
	Type        string     `yaml:"type" required:"true" doc:"protocol"`
	Listen      netip.Addr `yaml:"listen" doc:"address to bind"`
	Port        string     `yaml:"port" doc:"port or range of ports, 0 is any free one"`
	Rule        string     `yaml:"rule" doc:"sub-rule that replaces the rules"`
	Proxy       string     `yaml:"proxy" doc:"outbound or group, without rules"`
	RoutingMark int        `yaml:"routing-mark" doc:"SO_MARK of the sockets, Linux"`

	Ports []uint16 `yaml:"-"` // Port, parsed; nil is any free port
}

// ProxyKeys is the keys of a proxy that the kernel reads, to be given to the
// plugin's decoding as foreign. server and port belong to the plugins.
func ProxyKeys() []string { return conf.Keys(ProxyCommon{}) }

// GroupKeys is the keys of a group that the kernel reads.
func GroupKeys() []string { return conf.Keys(GroupCommon{}) }

// ListenerKeys is the keys of a listener that the kernel reads.
func ListenerKeys() []string { return conf.Keys(ListenerCommon{}) }

// ipVersions is the words that ip-version knows.
var ipVersions = []string{"dual", "ipv4", "ipv6", "ipv4-prefer", "ipv6-prefer"}

// DecodeProxy reads the common keys of an entry of proxies. Keys of the
// plugin are not looked at; its own decoding finds the unknown ones.
func DecodeProxy(n conf.Node) (ProxyCommon, conf.Problems) {
	c := ProxyCommon{IPVersion: "dual"}
	p := common(n, &c, conf.Loose)
	if !slices.Contains(ipVersions, c.IPVersion) {
		at := n.GetLoose("ip-version")
		p = append(p, at.Warnf("unknown word %q counts as dual%s", c.IPVersion, didYouMean(c.IPVersion, ipVersions)))
		c.IPVersion = "dual"
	}
	return c, p
}

// DecodeGroup reads the common keys of an entry of proxy-groups.
func DecodeGroup(n conf.Node) (GroupCommon, conf.Problems) {
	c := GroupCommon{Timeout: 5000, Lazy: true, MaxFailedTimes: 5, EmptyFallback: "COMPATIBLE", ExpectedStatus: "*"}
	p := common(n, &c, conf.LooseCase)
	if name := n.GetLoose("name"); name.Kind() == conf.Scalar && !name.IsString() {
		p = append(p, name.Errorf("the name of a group must be text; put it in quotes"))
	}
	for _, key := range []string{"interface-name", "routing-mark"} {
		if at := n.GetLoose(key); at.Exists() {
			p = append(p, at.Warnf("deprecated in a group; set it on the proxies"))
		}
	}
	return c, p
}

// DecodeListener reads the common keys of an entry of listeners and parses its
// ports.
func DecodeListener(n conf.Node) (ListenerCommon, conf.Problems) {
	c := ListenerCommon{Listen: netip.IPv4Unspecified()}
	p := common(n, &c, conf.Loose)
	ports, err := ParsePorts(c.Port)
	if err != nil {
		return c, append(p, n.GetLoose("port").Errorf("%v", err))
	}
	if len(ports) != 1 || ports[0] != 0 {
		c.Ports = ports
	}
	return c, p
}

// common decodes the keys of into and leaves the other keys to the plugin.
func common(n conf.Node, into any, m conf.Mode) conf.Problems {
	var others []string
	for _, e := range n.Entries() {
		others = append(others, e.Key)
	}
	if n.Kind() != conf.Map {
		return conf.Problems{n.Errorf("want a map, got %s", n.Kind())}
	}
	return n.Decode(into, m, others...)
}

func didYouMean(word string, known []string) string {
	if near := conf.Nearest(word, known); near != "" {
		return "; did you mean \"" + near + "\"?"
	}
	return ""
}

package configs

import (
	"net/netip"

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

// The keys that the kernel reads in an entry; a plugin's decoding is given
// them as foreign.
func ProxyKeys() []string    { return nil }
func GroupKeys() []string    { return nil }
func ListenerKeys() []string { return nil }

// DecodeProxy reads the common keys of an entry of proxies.
func DecodeProxy(n conf.Node) (ProxyCommon, conf.Problems) { return ProxyCommon{}, nil }

// DecodeGroup reads the common keys of an entry of proxy-groups.
func DecodeGroup(n conf.Node) (GroupCommon, conf.Problems) { return GroupCommon{}, nil }

// DecodeListener reads the common keys of an entry of listeners.
func DecodeListener(n conf.Node) (ListenerCommon, conf.Problems) { return ListenerCommon{}, nil }

// ParsePorts reads 114-514/810-1919,65530: the ports in order of writing, nil
// for no restriction ("" and *).
func ParsePorts(s string) ([]uint16, error) { return nil, nil }

package configs

import (
	"net/netip"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// DNS is the resolver and the DNS server.
type DNS struct {
	Enable                bool           `yaml:"enable" doc:"use this section"`
	Listen                string         `yaml:"listen" doc:"host:port of the DNS server, UDP and TCP"`
	IPv6                  bool           `yaml:"ipv6" doc:"answer AAAA"`
	IPv6Timeout           uint           `yaml:"ipv6-timeout" doc:"milliseconds to wait for AAAA after A"`
	PreferH3              bool           `yaml:"prefer-h3" doc:"try HTTP/3 beside HTTP/2"`
	UseHosts              bool           `yaml:"use-hosts" doc:"answer from hosts"`
	UseSystemHosts        bool           `yaml:"use-system-hosts" doc:"answer from the system's hosts file"`
	RespectRules          bool           `yaml:"respect-rules" doc:"reach name servers by the rules"`
	EnhancedMode          string         `yaml:"enhanced-mode" enum:"redir-host,fake-ip,normal" fold:"true" doc:"how names are kept for flows by address"`
	FakeIPRange           string         `yaml:"fake-ip-range" doc:"IPv4 prefix of the fake addresses"`
	FakeIPRange6          string         `yaml:"fake-ip-range6" doc:"IPv6 prefix of the fake addresses"`
	FakeIPFilter          []string       `yaml:"fake-ip-filter" doc:"names that get no fake address"`
	FakeIPFilterMode      string         `yaml:"fake-ip-filter-mode" enum:"blacklist,whitelist,rule" fold:"true" doc:"what a match of fake-ip-filter means"`
	FakeIPTTL             int            `yaml:"fake-ip-ttl" doc:"seconds"`
	DefaultNameserver     []Nameserver   `yaml:"default-nameserver" doc:"servers by address that resolve the other servers"`
	Nameserver            []Nameserver   `yaml:"nameserver" doc:"the main servers"`
	Fallback              []Nameserver   `yaml:"fallback" doc:"servers whose answer is used when the filter hits"`
	FallbackFilter        FallbackFilter `yaml:"fallback-filter" doc:"answers and names that go to fallback"`
	FallbackLazyQuery     bool           `yaml:"fallback-lazy-query" doc:"ask fallback only after the filter hit"`
	PolicyNode            conf.Node      `yaml:"nameserver-policy" doc:"map of pattern to server or servers"`
	ProxyServerNameserver []Nameserver   `yaml:"proxy-server-nameserver" doc:"servers for the hosts of proxies"`
	ProxyServerPolicyNode conf.Node      `yaml:"proxy-server-nameserver-policy" doc:"map of pattern to server or servers"`
	DirectNameserver      []Nameserver   `yaml:"direct-nameserver" doc:"servers for direct flows"`
	DirectFollowPolicy    bool           `yaml:"direct-nameserver-follow-policy" doc:"use nameserver-policy for direct flows"`
	CacheAlgorithm        string         `yaml:"cache-algorithm" doc:"lru or arc"`

	Policy            []PolicyEntry `yaml:"-"` // PolicyNode, checked, in file order
	ProxyServerPolicy []PolicyEntry `yaml:"-"` // ProxyServerPolicyNode
}

// FallbackFilter says what goes to the fallback servers.
type FallbackFilter struct {
	GeoIP     bool     `yaml:"geoip" doc:"answers outside geoip-code go to fallback"`
	GeoIPCode string   `yaml:"geoip-code" doc:"country code"`
	IPCIDR    []string `yaml:"ipcidr" doc:"answers inside go to fallback"`
	Domain    []string `yaml:"domain" doc:"names that only fallback is asked for"`
	GeoSite   []string `yaml:"geosite" doc:"site sets that only fallback is asked for; deprecated"`
}

// PolicyEntry is one line of a name server policy. Keys are the comma parts of
// the key as written: a pattern, or the first a set with its prefix.
type PolicyEntry struct {
	Keys    []string
	Servers []Nameserver
	Node    conf.Node
}

// Tun is the TUN device.
type Tun struct {
	Enable                   bool           `yaml:"enable" doc:"open the device"`
	Stack                    string         `yaml:"stack" enum:"gvisor,system,mixed" fold:"true" doc:"who speaks TCP and UDP with the device"`
	Device                   string         `yaml:"device" doc:"name of the device, empty is the system's default"`
	AutoRoute                bool           `yaml:"auto-route" doc:"lead the default routes into the device"`
	AutoDetectInterface      bool           `yaml:"auto-detect-interface" doc:"follow the default interface"`
	AutoRedirect             bool           `yaml:"auto-redirect" doc:"take TCP by firewall redirect, Linux"`
	StrictRoute              bool           `yaml:"strict-route" doc:"let nothing pass the device by"`
	DNSHijack                []string       `yaml:"dns-hijack" doc:"destinations whose DNS questions are answered here"`
	MTU                      uint32         `yaml:"mtu" doc:"bytes, 0 is 9000"`
	GSO                      bool           `yaml:"gso" doc:"big packets, Linux"`
	GSOMaxSize               uint32         `yaml:"gso-max-size" doc:"bytes"`
	Inet4Address             conf.Node      `yaml:"inet4-address" doc:"ignored: it follows from fake-ip-range"`
	Inet6AddressNode         conf.Node      `yaml:"inet6-address" doc:"IPv6 prefixes of the device"`
	UDPTimeout               int            `yaml:"udp-timeout" doc:"seconds, 0 is 300"`
	TableIndex               int            `yaml:"iproute2-table-index" doc:"routing table, 0 is 2022"`
	RuleIndex                int            `yaml:"iproute2-rule-index" doc:"first rule, 0 is 9000"`
	RedirectInputMark        uint32         `yaml:"auto-redirect-input-mark" doc:"0 is 0x2023"`
	RedirectOutputMark       uint32         `yaml:"auto-redirect-output-mark" doc:"0 is 0x2024"`
	EndpointIndependentNAT   bool           `yaml:"endpoint-independent-nat" doc:"answers from anywhere reach a UDP source"`
	RouteAddress             []netip.Prefix `yaml:"route-address" doc:"routes instead of the default ones"`
	RouteExcludeAddress      []netip.Prefix `yaml:"route-exclude-address" doc:"destinations that bypass the device"`
	Inet4RouteAddress        []netip.Prefix `yaml:"inet4-route-address" doc:"older spelling of route-address"`
	Inet6RouteAddress        []netip.Prefix `yaml:"inet6-route-address" doc:"older spelling of route-address"`
	Inet4RouteExcludeAddress []netip.Prefix `yaml:"inet4-route-exclude-address" doc:"older spelling of route-exclude-address"`
	Inet6RouteExcludeAddress []netip.Prefix `yaml:"inet6-route-exclude-address" doc:"older spelling of route-exclude-address"`
	RouteAddressSet          []string       `yaml:"route-address-set" doc:"rule sets for route-address"`
	RouteExcludeAddressSet   []string       `yaml:"route-exclude-address-set" doc:"rule sets for route-exclude-address"`
	IncludeInterface         []string       `yaml:"include-interface" doc:"only these interfaces"`
	ExcludeInterface         []string       `yaml:"exclude-interface" doc:"not these interfaces"`
	IncludeUID               []uint32       `yaml:"include-uid" doc:"only these users, Linux"`
	ExcludeUID               []uint32       `yaml:"exclude-uid" doc:"not these users, Linux"`
	IncludeUIDRange          []string       `yaml:"include-uid-range" doc:"a:b ranges of users, Linux"`
	ExcludeUIDRange          []string       `yaml:"exclude-uid-range" doc:"a:b ranges of users, Linux"`
	IncludeMACAddress        []string       `yaml:"include-mac-address" doc:"only these hosts, Linux"`
	ExcludeMACAddress        []string       `yaml:"exclude-mac-address" doc:"not these hosts, Linux"`
	IncludeAndroidUser       []int          `yaml:"include-android-user" doc:"only these users, Android"`
	IncludePackage           []string       `yaml:"include-package" doc:"only these packages, Android"`
	ExcludePackage           []string       `yaml:"exclude-package" doc:"not these packages, Android"`
	FileDescriptor           int            `yaml:"file-descriptor" doc:"a device that is open already"`

	Inet6Address []netip.Prefix `yaml:"-"` // Inet6AddressNode, checked
}

// Sniffer finds host names in the first bytes of a flow.
type Sniffer struct {
	Enable              bool      `yaml:"enable" doc:"look for host names"`
	ForceDNSMapping     bool      `yaml:"force-dns-mapping" doc:"look also when the name came from a DNS answer"`
	ParsePureIP         bool      `yaml:"parse-pure-ip" doc:"look when there is no name"`
	OverrideDestination bool      `yaml:"override-destination" doc:"dial the found name"`
	SniffNode           conf.Node `yaml:"sniff" doc:"map of protocol to ports and override-destination"`
	ForceDomain         []string  `yaml:"force-domain" doc:"names that are looked behind"`
	SkipDomain          []string  `yaml:"skip-domain" doc:"found names that are dropped"`
	SkipSrcAddress      []string  `yaml:"skip-src-address" doc:"sources that are left alone"`
	SkipDstAddress      []string  `yaml:"skip-dst-address" doc:"destinations that are left alone"`
	Sniffing            []string  `yaml:"sniffing" doc:"older form of sniff"`
	PortWhitelist       []string  `yaml:"port-whitelist" doc:"ports of the older form"`

	Sniff []SniffRule `yaml:"-"` // SniffNode or the older form, checked, in file order
}

// SniffRule says at which ports to look for one protocol.
type SniffRule struct {
	Protocol            string // "HTTP" "TLS" "QUIC"
	Ports               []PortRange
	OverrideDestination bool
}

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint16 }

// Package configs is Culvert's configuration as types. Load composes the
// defaults, the user's document, the environment and the flags, and returns a
// Document: typed for what the kernel owns, raw nodes for what plugins own,
// with every problem at its line. It knows the grammar of ports, rules, name
// servers and patterns; which types and names exist is for the kernel to
// check. Defaults, spelling and looseness match MetaCubeX/mihomo.
package configs

import (
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// Document is a whole configuration. It is complete and valid when Load
// returned it without an error, and is not written after that. Its maps and
// nodes are shared with its Tree.
type Document struct {
	Ports      `yaml:",inline"`
	General    `yaml:",inline"`
	Controller `yaml:",inline"`
	Geo        `yaml:",inline"`

	Profile      Profile      `yaml:"profile" doc:"what is kept across restarts"`
	TLS          TLS          `yaml:"tls" doc:"certificate of the HTTPS controller"`
	DNS          DNS          `yaml:"dns" doc:"the resolver and the DNS server"`
	Tun          Tun          `yaml:"tun" doc:"the TUN device"`
	Sniffer      Sniffer      `yaml:"sniffer" doc:"host names from the first bytes of a flow"`
	NTP          NTP          `yaml:"ntp" doc:"time from a server"`
	Experimental Experimental `yaml:"experimental" doc:"switches that may go away"`
	IPTables     IPTables     `yaml:"iptables" doc:"automatic rules for tproxy-port"`
	TuicServer   TuicServer   `yaml:"tuic-server" doc:"quick TUIC inbound"`
	Metrics      Metrics      `yaml:"metrics" doc:"a listener of its own for /metrics; a section of Culvert's"`

	HostsNode   conf.Node   `yaml:"hosts" doc:"map of domain pattern to address, addresses, one domain or lan"`
	TunnelNodes []conf.Node `yaml:"tunnels" doc:"ports that lead to one target"`

	Proxies        []conf.Node `yaml:"proxies" doc:"the outbounds"`
	ProxyGroups    []conf.Node `yaml:"proxy-groups" doc:"the groups"`
	Rules          []conf.Node `yaml:"rules" doc:"TYPE,payload,target lines, first match wins"`
	SubRules       conf.Node   `yaml:"sub-rules" doc:"map of name to list of rules"`
	ProxyProviders conf.Node   `yaml:"proxy-providers" doc:"map of name to provider of proxies"`
	RuleProviders  conf.Node   `yaml:"rule-providers" doc:"map of name to provider of rules"`
	Listeners      []conf.Node `yaml:"listeners" doc:"the named inbounds"`
	Plugins        []conf.Node `yaml:"plugins" doc:"plugin processes; a section of Culvert's"`
	Android        conf.Node   `yaml:"clash-for-android" doc:"accepted, without effect"`

	Hosts   []HostEntry `yaml:"-"` // HostsNode, checked, in file order
	Tunnels []Tunnel    `yaml:"-"` // TunnelNodes, checked

	Home      string        `yaml:"-"` // the home directory, absolute
	SafePaths []string      `yaml:"-"` // further roots of files, see Inside
	File      string        `yaml:"-"` // the file that was read, "" for other input
	Warnings  conf.Problems `yaml:"-"` // sorted
	Tree      *conf.Tree    `yaml:"-"` // the document with the overrides in it
}

// Ports are the quick inbounds. 0 is off.
type Ports struct {
	Port       int    `yaml:"port" doc:"HTTP proxy port, 0 is off"`
	SocksPort  int    `yaml:"socks-port" doc:"SOCKS4, 4a and 5 port, TCP and UDP, 0 is off"`
	MixedPort  int    `yaml:"mixed-port" doc:"HTTP and SOCKS on one port, 0 is off"`
	RedirPort  int    `yaml:"redir-port" doc:"transparent port for redirected TCP, 0 is off"`
	TProxyPort int    `yaml:"tproxy-port" doc:"transparent port for TPROXY, 0 is off"`
	SSConfig   string `yaml:"ss-config" doc:"ss://cipher:password@:port quick inbound"`
	VMessURL   string `yaml:"vmess-config" doc:"vmess://name:uuid@:port quick inbound"`
}

// General is the settings that stand at the top of most files.
type General struct {
	AllowLAN          bool           `yaml:"allow-lan" doc:"bind the ports to bind-address instead of 127.0.0.1"`
	BindAddress       string         `yaml:"bind-address" doc:"address of the ports with allow-lan, * is all"`
	LanAllowedIPs     []netip.Prefix `yaml:"lan-allowed-ips" doc:"sources that may use the ports"`
	LanDisallowedIPs  []netip.Prefix `yaml:"lan-disallowed-ips" doc:"sources that may not; wins over lan-allowed-ips"`
	Authentication    []string       `yaml:"authentication" doc:"user:password entries"`
	SkipAuthPrefixes  []netip.Prefix `yaml:"skip-auth-prefixes" doc:"sources that need no password"`
	Mode              string         `yaml:"mode" enum:"rule,global,direct" fold:"true" doc:"how flows are routed"`
	LogLevel          string         `yaml:"log-level" enum:"silent,error,warning,info,debug" fold:"true" doc:"the least severe line that is logged"`
	IPv6              bool           `yaml:"ipv6" doc:"use IPv6 at all"`
	UnifiedDelay      bool           `yaml:"unified-delay" doc:"measure delay on a connection that is open already"`
	TCPConcurrent     bool           `yaml:"tcp-concurrent" doc:"dial all addresses of a host at once"`
	FindProcessMode   string         `yaml:"find-process-mode" enum:"always,strict,off" fold:"true" doc:"when to look for the process of a flow"`
	InterfaceName     string         `yaml:"interface-name" doc:"interface that outbound sockets use"`
	RoutingMark       int            `yaml:"routing-mark" doc:"SO_MARK of outbound sockets, Linux"`
	KeepAliveInterval int            `yaml:"keep-alive-interval" doc:"seconds between TCP keep-alive probes, 0 is the default"`
	KeepAliveIdle     int            `yaml:"keep-alive-idle" doc:"seconds before the first TCP keep-alive probe, 0 is the default"`
	DisableKeepAlive  bool           `yaml:"disable-keep-alive" doc:"send no TCP keep-alive probes"`
	InboundTFO        bool           `yaml:"inbound-tfo" doc:"TCP fast open on listening sockets"`
	InboundMPTCP      bool           `yaml:"inbound-mptcp" doc:"multipath TCP on listening sockets"`
	ClientFingerprint string         `yaml:"global-client-fingerprint" doc:"TLS fingerprint of proxies without their own; deprecated"`
	GlobalUA          string         `yaml:"global-ua" doc:"User-Agent of downloads"`
	ETagSupport       bool           `yaml:"etag-support" doc:"ask servers whether a download changed"`
}

// Controller is the REST API and what is served beside it.
type Controller struct {
	ExternalController     string           `yaml:"external-controller" doc:"host:port of the REST API"`
	ExternalControllerTLS  string           `yaml:"external-controller-tls" doc:"host:port of the REST API over TLS"`
	ExternalControllerUnix string           `yaml:"external-controller-unix" doc:"path of the REST API's Unix socket, without secret"`
	ExternalControllerPipe string           `yaml:"external-controller-pipe" doc:"Windows pipe of the REST API, without secret"`
	ExternalControllerMark int              `yaml:"external-controller-routing-mark" doc:"SO_MARK of the API's sockets"`
	CORS                   CORS             `yaml:"external-controller-cors" doc:"browsers that may use the API"`
	ExternalDoHServer      string           `yaml:"external-doh-server" doc:"path of DNS over HTTPS on the API's ports"`
	Secret                 framework.Secret `yaml:"secret" doc:"bearer token of the API"`
	ExternalUI             string           `yaml:"external-ui" doc:"directory that is served at /ui/"`
	ExternalUIName         string           `yaml:"external-ui-name" doc:"directory below external-ui that downloads go to"`
	ExternalUIURL          string           `yaml:"external-ui-url" doc:"archive to fill an empty external-ui from"`
}

// CORS says which browser origins may use the API.
type CORS struct {
	AllowOrigins        []string `yaml:"allow-origins" doc:"origins, * is all"`
	AllowPrivateNetwork bool     `yaml:"allow-private-network" doc:"answer private network preflights"`
}

// Geo is the country and site data.
type Geo struct {
	GeodataMode       bool   `yaml:"geodata-mode" doc:"use .dat files instead of mmdb"`
	GeodataLoader     string `yaml:"geodata-loader" doc:"standard or memconservative"`
	GeositeMatcher    string `yaml:"geosite-matcher" doc:"succinct or mph"`
	GeoAutoUpdate     bool   `yaml:"geo-auto-update" doc:"fetch the data again from time to time"`
	GeoUpdateInterval int    `yaml:"geo-update-interval" doc:"hours between updates"`
	GeoxURL           GeoURL `yaml:"geox-url" doc:"where the data comes from"`
}

// GeoURL is where country and site data comes from.
type GeoURL struct {
	GeoIP   string `yaml:"geoip" doc:"URL of geoip.dat"`
	GeoSite string `yaml:"geosite" doc:"URL of geosite.dat"`
	MMDB    string `yaml:"mmdb" doc:"URL of the country mmdb"`
	ASN     string `yaml:"asn" doc:"URL of the ASN mmdb"`
}

// Profile is what is kept across restarts.
type Profile struct {
	StoreSelected bool `yaml:"store-selected" doc:"remember the choice of select groups"`
	StoreFakeIP   bool `yaml:"store-fake-ip" doc:"remember the fake-IP table"`
}

// TLS is the certificate of the HTTPS controller: PEM text or a path.
type TLS struct {
	Certificate    string           `yaml:"certificate" doc:"PEM text or path"`
	PrivateKey     framework.Secret `yaml:"private-key" doc:"PEM text or path"`
	ClientAuthType string           `yaml:"client-auth-type" enum:",request,require-any,verify-if-given,require-and-verify" doc:"client certificates"`
	ClientAuthCert string           `yaml:"client-auth-cert" doc:"PEM text or path of the roots of client certificates"`
	ECHKey         framework.Secret `yaml:"ech-key" doc:"PEM text or path"`
	CustomRoots    []string         `yaml:"custom-certifactes" doc:"PEM texts of further trusted roots"`
}

// NTP is time from a server.
type NTP struct {
	Enable        bool   `yaml:"enable" doc:"ask a server for the time"`
	Server        string `yaml:"server" doc:"host of the server"`
	Port          int    `yaml:"port" doc:"port of the server"`
	Interval      int    `yaml:"interval" doc:"minutes between questions"`
	WriteToSystem bool   `yaml:"write-to-system" doc:"set the system's clock"`
	DialerProxy   string `yaml:"dialer-proxy" doc:"outbound to ask through"`
}

// Experimental is switches that may go away.
type Experimental struct {
	DisableGSO   bool      `yaml:"quic-go-disable-gso" doc:"send QUIC packets one by one"`
	DisableECN   bool      `yaml:"quic-go-disable-ecn" doc:"no congestion marks on QUIC packets"`
	IP4PConvert  bool      `yaml:"dialer-ip4p-convert" doc:"read 2001::port:ip as an IPv4 endpoint"`
	Fingerprints conf.Node `yaml:"fingerprints" doc:"accepted, without effect"`
}

// IPTables is automatic firewall rules for tproxy-port.
type IPTables struct {
	Enable           bool     `yaml:"enable" doc:"write the rules"`
	InboundInterface string   `yaml:"inbound-interface" doc:"interface whose traffic is taken"`
	Bypass           []string `yaml:"bypass" doc:"destinations that are left alone"`
	DNSRedirect      bool     `yaml:"dns-redirect" doc:"take DNS questions too"`
}

// TuicServer is the quick TUIC inbound.
type TuicServer struct {
	Enable                bool                        `yaml:"enable" doc:"open it"`
	Listen                string                      `yaml:"listen" doc:"host:port"`
	Token                 []framework.Secret          `yaml:"token" doc:"tokens of version 4"`
	Users                 map[string]framework.Secret `yaml:"users" doc:"uuid to password, version 5"`
	Certificate           string                      `yaml:"certificate" doc:"PEM text or path"`
	PrivateKey            framework.Secret            `yaml:"private-key" doc:"PEM text or path"`
	CongestionController  string                      `yaml:"congestion-controller" doc:"name of the algorithm"`
	MaxIdleTime           int                         `yaml:"max-idle-time" doc:"milliseconds"`
	AuthenticationTimeout int                         `yaml:"authentication-timeout" doc:"milliseconds"`
	ALPN                  []string                    `yaml:"alpn" doc:"protocols to offer"`
	MaxUDPRelayPacketSize int                         `yaml:"max-udp-relay-packet-size" doc:"bytes"`
	CWND                  int                         `yaml:"cwnd" doc:"initial congestion window in packets"`
}

// Metrics is a listener of its own for /metrics.
type Metrics struct {
	Listen string `yaml:"listen" doc:"host:port, empty is off"`
}

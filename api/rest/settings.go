package rest

import "net/netip"

// Settings is the answer to GET /configs: what is in force, in the order of
// the recorded answer. A port is 0 when it is off or could not be bound.
type Settings struct {
	Port              int            `json:"port"`
	SocksPort         int            `json:"socks-port"`
	RedirPort         int            `json:"redir-port"`
	TProxyPort        int            `json:"tproxy-port"`
	MixedPort         int            `json:"mixed-port"`
	Tun               Tun            `json:"tun"`
	TUICServer        TUICServer     `json:"tuic-server"`
	SSConfig          string         `json:"ss-config"`
	VMessConfig       string         `json:"vmess-config"`
	Authentication    []string       `json:"authentication"`     // user names only; nil for none
	SkipAuthPrefixes  []netip.Prefix `json:"skip-auth-prefixes"` // nil when empty
	LANAllowedIPs     []netip.Prefix `json:"lan-allowed-ips"`
	LANDisallowedIPs  []netip.Prefix `json:"lan-disallowed-ips"`
	AllowLAN          bool           `json:"allow-lan"`
	BindAddress       string         `json:"bind-address"`
	InboundTFO        bool           `json:"inbound-tfo"`
	InboundMPTCP      bool           `json:"inbound-mptcp"`
	Mode              string         `json:"mode"` // "rule" "global" "direct"
	UnifiedDelay      bool           `json:"unified-delay"`
	LogLevel          string         `json:"log-level"` // "silent" "error" "warning" "info" "debug"
	IPv6              bool           `json:"ipv6"`
	InterfaceName     string         `json:"interface-name"`
	RoutingMark       int            `json:"routing-mark"`
	GeoXURL           GeoXURL        `json:"geox-url"`
	GeoAutoUpdate     bool           `json:"geo-auto-update"`
	GeoUpdateInterval int            `json:"geo-update-interval"` // hours
	GeodataMode       bool           `json:"geodata-mode"`
	GeodataLoader     string         `json:"geodata-loader"`
	GeositeMatcher    string         `json:"geosite-matcher"`
	TCPConcurrent     bool           `json:"tcp-concurrent"`
	FindProcessMode   string         `json:"find-process-mode"` // "strict" "always" "off"
	Sniffing          bool           `json:"sniffing"`
	GlobalFingerprint string         `json:"global-client-fingerprint"`
	GlobalUA          string         `json:"global-ua"`
	ETagSupport       bool           `json:"etag-support"`
	KeepAliveIdle     int            `json:"keep-alive-idle"`     // seconds
	KeepAliveInterval int            `json:"keep-alive-interval"` // seconds
	DisableKeepAlive  bool           `json:"disable-keep-alive"`
}

// Tun is the state of the TUN inbound.
type Tun struct {
	Enable              bool           `json:"enable"`
	Device              string         `json:"device"`
	Stack               string         `json:"stack"` // "gVisor" "System" "Mixed"
	DNSHijack           []string       `json:"dns-hijack"`
	AutoRoute           bool           `json:"auto-route"`
	AutoDetectInterface bool           `json:"auto-detect-interface"`
	MTU                 int            `json:"mtu,omitempty"`
	GSO                 bool           `json:"gso,omitempty"`
	GSOMaxSize          int            `json:"gso-max-size,omitempty"`
	Inet4Address        []netip.Prefix `json:"inet4-address,omitempty"`
	Inet6Address        []netip.Prefix `json:"inet6-address,omitempty"`
	AutoRedirect        bool           `json:"auto-redirect,omitempty"`
	StrictRoute         bool           `json:"strict-route,omitempty"`
	RouteAddress        []netip.Prefix `json:"route-address,omitempty"`
	RouteExcludeAddress []netip.Prefix `json:"route-exclude-address,omitempty"`
	IncludeInterface    []string       `json:"include-interface,omitempty"`
	ExcludeInterface    []string       `json:"exclude-interface,omitempty"`
	UDPTimeout          int64          `json:"udp-timeout,omitempty"` // seconds
	FileDescriptor      int            `json:"file-descriptor"`
}

// TUICServer is the state of the TUIC inbound of the top level.
type TUICServer struct {
	Enable      bool   `json:"enable"`
	Listen      string `json:"listen"`
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"private-key"`
	ECHKey      string `json:"ech-key"`
}

// GeoXURL says where the geo databases come from. The keys are the API's, not
// those of the configuration.
type GeoXURL struct {
	GeoIP   string `json:"geo-ip"`
	MMDB    string `json:"mmdb"`
	ASN     string `json:"asn"`
	GeoSite string `json:"geo-site"`
}

// Patch is the body of PATCH /configs, decoded and checked: nil keeps the
// value. Mode, LogLevel and FindProcessMode are in lower case.
type Patch struct {
	Port             *int            `json:"port"`
	SocksPort        *int            `json:"socks-port"`
	RedirPort        *int            `json:"redir-port"`
	TProxyPort       *int            `json:"tproxy-port"`
	MixedPort        *int            `json:"mixed-port"`
	Mode             *string         `json:"mode"`
	LogLevel         *string         `json:"log-level"`
	AllowLAN         *bool           `json:"allow-lan"`
	BindAddress      *string         `json:"bind-address"`
	IPv6             *bool           `json:"ipv6"`
	Sniffing         *bool           `json:"sniffing"` // no effect unless a sniffer is configured
	TCPConcurrent    *bool           `json:"tcp-concurrent"`
	UnifiedDelay     *bool           `json:"unified-delay"`
	InterfaceName    *string         `json:"interface-name"`
	FindProcessMode  *string         `json:"find-process-mode"`
	SkipAuthPrefixes *[]netip.Prefix `json:"skip-auth-prefixes"`
	LANAllowedIPs    *[]netip.Prefix `json:"lan-allowed-ips"`
	LANDisallowedIPs *[]netip.Prefix `json:"lan-disallowed-ips"`
	Tun              *TunPatch       `json:"tun"`
	TUICServer       *TUICPatch      `json:"tuic-server"`
	SSConfig         *string         `json:"ss-config"`
	VMessConfig      *string         `json:"vmess-config"`
}

// TunPatch is merged key by key into the TUN settings; Enable always counts.
type TunPatch struct {
	Enable              bool      `json:"enable"`
	Device              *string   `json:"device"`
	Stack               *string   `json:"stack"` // "gVisor" "System" "Mixed", spelled so
	DNSHijack           *[]string `json:"dns-hijack"`
	AutoRoute           *bool     `json:"auto-route"`
	AutoDetectInterface *bool     `json:"auto-detect-interface"`
	MTU                 *int      `json:"mtu"`
	AutoRedirect        *bool     `json:"auto-redirect"`
	StrictRoute         *bool     `json:"strict-route"`
	FileDescriptor      *int      `json:"file-descriptor"`
}

// TUICPatch is merged key by key into the TUIC settings; Enable always counts.
type TUICPatch struct {
	Enable      bool    `json:"enable"`
	Listen      *string `json:"listen"`
	Certificate *string `json:"certificate"`
	PrivateKey  *string `json:"private-key"`
}

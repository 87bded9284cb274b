package configs

import "net/netip"

// The addresses of the data and of the dashboard that mihomo downloads.
const (
	geoRelease = "https://github.com/MetaCubeX/meta-rules-dat/releases/download/latest/"
	uiRelease  = "https://github.com/MetaCubeX/metacubexd/archive/refs/heads/gh-pages.zip"
)

// Default is the configuration of an empty document. The values are those of
// mihomo's config/config.go.
func Default() *Document {
	return &Document{
		General: General{
			BindAddress:     "*",
			LanAllowedIPs:   []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
			Mode:            "rule",
			LogLevel:        "info",
			IPv6:            true,
			FindProcessMode: "strict",
			GlobalUA:        "clash.meta",
			ETagSupport:     true,
		},
		Controller: Controller{
			CORS:          CORS{AllowOrigins: []string{"*"}, AllowPrivateNetwork: true},
			ExternalUIURL: uiRelease,
		},
		Geo: Geo{
			GeodataLoader:     "memconservative",
			GeositeMatcher:    "succinct",
			GeoUpdateInterval: 24,
			GeoxURL: GeoURL{
				GeoIP:   geoRelease + "geoip.dat",
				GeoSite: geoRelease + "geosite.dat",
				MMDB:    geoRelease + "geoip.metadb",
				ASN:     geoRelease + "GeoLite2-ASN.mmdb",
			},
		},
		Profile:      Profile{StoreSelected: true},
		DNS:          defaultDNS(),
		Tun:          defaultTun(),
		Sniffer:      Sniffer{ForceDNSMapping: true, ParsePureIP: true, OverrideDestination: true},
		NTP:          NTP{Server: "time.apple.com", Port: 123, Interval: 30},
		Experimental: Experimental{DisableECN: true},
		IPTables:     IPTables{InboundInterface: "lo", DNSRedirect: true},
		TuicServer:   TuicServer{MaxIdleTime: 15000, AuthenticationTimeout: 1000, ALPN: []string{"h3"}, MaxUDPRelayPacketSize: 1500},
	}
}

func defaultDNS() DNS {
	return DNS{
		IPv6Timeout:       100,
		UseHosts:          true,
		UseSystemHosts:    true,
		EnhancedMode:      "redir-host",
		FakeIPRange:       "198.18.0.1/16",
		FakeIPFilter:      []string{"dns.msftnsci.com", "www.msftnsci.com", "www.msftconnecttest.com"},
		FakeIPFilterMode:  "blacklist",
		FakeIPTTL:         1,
		DefaultNameserver: nameservers("114.114.114.114", "223.5.5.5", "8.8.8.8", "1.0.0.1"),
		Nameserver:        nameservers("https://doh.pub/dns-query", "tls://223.5.5.5:853"),
		FallbackFilter:    FallbackFilter{GeoIP: true, GeoIPCode: "CN"},
		CacheAlgorithm:    "lru",
	}
}

func defaultTun() Tun {
	return Tun{
		Stack:               "gvisor",
		AutoRoute:           true,
		AutoDetectInterface: true,
		DNSHijack:           []string{"0.0.0.0:53"},
		GSOMaxSize:          65536,
		Inet6Address:        []netip.Prefix{netip.MustParsePrefix("fdfe:dcba:9876::1/126")},
	}
}

// nameservers is a default list; a mistake in it is one of the program.
func nameservers(texts ...string) []Nameserver {
	out := make([]Nameserver, len(texts))
	for i, s := range texts {
		if err := out[i].UnmarshalText([]byte(s)); err != nil {
			panic(err)
		}
	}
	return out
}

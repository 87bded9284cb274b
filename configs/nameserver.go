package configs

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Nameserver is one DNS server as the file names it.
type Nameserver struct {
	Raw    string   // as written
	Scheme string   // udp tcp tls https http quic system dhcp rcode
	Host   string   // host or address without brackets, interface of dhcp, name of the rcode
	Port   uint16   // 0 for system, dhcp and rcode
	Path   string   // of http and https
	User   string   // user info of http and https as written, "" without
	Via    string   // outbound, group or interface to connect through, or RULES
	Params []string // key=value items of the fragment
}

// defaultPorts is the port of each scheme that dials.
var defaultPorts = map[string]uint16{"udp": 53, "tcp": 53, "tls": 853, "https": 443, "http": 80, "quic": 853}

// rcodes is the fixed replies of rcode:// servers.
var rcodes = []string{"success", "format_error", "server_failure", "name_error", "not_implemented", "refused"}

// UnmarshalText reads udp, tcp, tls, https, http, quic, system, dhcp and rcode
// servers; without a scheme it is udp. The case of the scheme does not matter.
func (s *Nameserver) UnmarshalText(text []byte) error {
	raw := string(text)
	if raw == "" {
		return fmt.Errorf("name server is empty")
	}
	rest, fragment, _ := strings.Cut(raw, "#")
	out := Nameserver{Raw: raw, Scheme: "udp"}
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		out.Scheme, rest = strings.ToLower(scheme), after
	} else if strings.EqualFold(rest, "system") {
		out.Scheme, rest = "system", ""
	}
	out.fragment(fragment)
	if err := out.server(rest); err != nil {
		return err
	}
	*s = out
	return nil
}

// fragment reads NAME&key=value. Outside DoH a fragment may be a name that
// holds = and &; a name server's own words decide.
func (s *Nameserver) fragment(text string) {
	for item := range strings.SplitSeq(text, "&") {
		switch {
		case item == "":
		case strings.Contains(item, "="), strings.HasPrefix(item, "disable-"):
			s.Params = append(s.Params, item)
		default:
			s.Via = item
		}
	}
}

func (s *Nameserver) server(rest string) error {
	switch s.Scheme {
	case "system":
		return nil
	case "dhcp":
		s.Host = rest
		if rest == "system" {
			s.Scheme, s.Host = "system", ""
		}
		return nil
	case "rcode":
		if s.Host = rest; !slices.Contains(rcodes, rest) {
			return fmt.Errorf("unknown rcode %q: must be one of %s", rest, strings.Join(rcodes, ", "))
		}
		return nil
	}
	if _, ok := defaultPorts[s.Scheme]; !ok {
		return fmt.Errorf("unknown scheme %q of name server%s", s.Scheme, schemeHint(s.Scheme))
	}
	if strings.HasPrefix(s.Scheme, "http") {
		return s.doh(rest)
	}
	rest, _, _ = strings.Cut(rest, "/")
	return s.address(rest)
}

func schemeHint(scheme string) string {
	if scheme == "h3" {
		return `; write https://…#h3=true`
	}
	return ""
}

// doh reads host/path. The query is dropped, the user info kept.
func (s *Nameserver) doh(rest string) error {
	u, err := url.Parse("https://" + rest)
	if err != nil {
		return fmt.Errorf("not the URL of a name server")
	}
	s.Path = u.Path
	if u.User != nil {
		s.User = u.User.String()
	}
	return s.address(u.Host)
}

// address reads host, host:port, [v6]:port or a bare v6.
func (s *Nameserver) address(text string) error {
	s.Host, s.Port = text, defaultPorts[s.Scheme]
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		s.Host = ip.String()
		return nil
	}
	if host, port, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return fmt.Errorf("port %q is not a number up to 65535", port)
		}
		s.Host, s.Port = host, uint16(n)
	}
	if s.Host == "" || strings.ContainsAny(s.Host, " \t[]") || strings.Contains(s.Host, ":") && !isIP(s.Host) {
		return fmt.Errorf("%q is not the address of a name server", text)
	}
	return nil
}

// IP is the server's address, not ok when the file names a host.
func (s Nameserver) IP() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(s.Host)
	return ip, err == nil
}

// byAddress says whether the server is reached without resolving a name.
func (s Nameserver) byAddress() bool {
	if s.Scheme == "system" {
		return true
	}
	_, dials := defaultPorts[s.Scheme]
	_, ip := s.IP()
	return dials && ip
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// distinct is list without exact repetitions.
func distinct(list []Nameserver) []Nameserver {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(list), func(s Nameserver) bool {
		again := seen[s.Raw]
		seen[s.Raw] = true
		return again
	})
}

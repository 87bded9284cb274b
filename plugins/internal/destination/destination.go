// Package destination makes a framework.Addr from what a client or a server
// put on the wire: names in lower case, literals as addresses, nothing else.
// It resolves nothing.
package destination

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// Longest name and label, RFC 1035 §2.3.4 in presentation form.
const (
	maxName  = 253
	maxLabel = 63
)

var (
	errEmpty = framework.Classed(framework.ErrProtocol, errors.New("destination has no host"))
	errName  = framework.Classed(framework.ErrProtocol, errors.New("destination is no valid host name"))
	errPort  = framework.Classed(framework.ErrProtocol, errors.New("destination has no valid port"))
)

// New is the Addr of host, a name or an IP literal without brackets, and port.
// A name is put in lower case and loses one trailing dot. Names that no DNS
// can hold are an ErrProtocol: empty labels, bytes outside letters, digits,
// '-' and '_', and a last label that is a number, since some resolvers read
// "127.1" as an address that no rule has seen.
func New(host string, port uint16) (framework.Addr, error) {
	host = strings.TrimSuffix(host, ".")
	if host == "" {
		return framework.Addr{}, errEmpty
	}
	if end := host[len(host)-1]; '0' <= end && end <= '9' || strings.Contains(host, ":") { // else no literal: parsing one costs an error
		if ip, err := netip.ParseAddr(host); err == nil {
			return IP(ip, port), nil
		}
	}
	host = strings.ToLower(host)
	if !validName(host) {
		return framework.Addr{}, errName
	}
	return framework.Addr{Host: host, Port: port}, nil
}

// IP is the Addr of an address: unmapped, with a zone only if link-local.
func IP(ip netip.Addr, port uint16) framework.Addr {
	ip = ip.Unmap()
	if ip.Zone() != "" && !ip.IsLinkLocalUnicast() {
		ip = ip.WithZone("")
	}
	return framework.Addr{IP: ip, Port: port}
}

// Split is the Addr of "host:port" or "[v6]:port". Without a port it is that
// of defaultPort, or an error when defaultPort is 0. Port 0 is an error.
func Split(hostport string, defaultPort uint16) (framework.Addr, error) {
	host, port, err := split(hostport, defaultPort)
	if err != nil {
		return framework.Addr{}, err
	}
	return New(host, port)
}

func split(s string, defaultPort uint16) (string, uint16, error) {
	bare := strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]")
	if bare || !strings.Contains(s, ":") {
		if defaultPort == 0 {
			return "", 0, errPort
		}
		if bare {
			s = s[1 : len(s)-1]
			return s, defaultPort, literal6(s)
		}
		return s, defaultPort, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, errName
	}
	if strings.HasPrefix(s, "[") {
		err = literal6(host)
	}
	if text == "" && defaultPort != 0 {
		return host, defaultPort, err
	}
	port, bad := strconv.ParseUint(text, 10, 16)
	if bad != nil || port == 0 || text[0] == '+' {
		return "", 0, errPort
	}
	return host, uint16(port), err
}

// literal6 refuses brackets around anything but an IPv6 address.
func literal6(s string) error {
	if ip, err := netip.ParseAddr(s); err != nil || !ip.Is6() {
		return errName
	}
	return nil
}

func validName(s string) bool {
	if len(s) > maxName {
		return false
	}
	last := s
	for rest, more := s, true; more; {
		last, rest, more = strings.Cut(rest, ".")
		if last == "" || len(last) > maxLabel || !validLabel(last) {
			return false
		}
	}
	return !numeric(last)
}

func validLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// numeric says whether inet_aton(3) takes s for a number.
func numeric(s string) bool {
	if strings.HasPrefix(s, "0x") {
		return strings.Trim(s[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(s, "0123456789") == ""
}

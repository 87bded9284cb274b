package framework

import (
	"net"
	"net/netip"
	"strconv"
)

// Network is TCP or UDP.
type Network uint8

// The networks.
const (
	TCP Network = 1
	UDP Network = 2
)

// String is "tcp" or "udp", as the REST API and rules spell it.
func (n Network) String() string {
	switch n {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "network(" + strconv.Itoa(int(n)) + ")"
}

// Addr is where a client wants to go: a host name or an IP, never both. Host
// is in lower case without a trailing dot; IP is unmapped and has no zone
// unless it is link-local. The zero Addr is nowhere.
type Addr struct {
	Host string
	IP   netip.Addr
	Port uint16
}

// AddrFrom is the Addr of an address and port.
func AddrFrom(ap netip.AddrPort) Addr { return Addr{IP: ap.Addr().Unmap(), Port: ap.Port()} }

// AddrPort is the address and port of an Addr that has an IP, else zero.
func (a Addr) AddrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP, a.Port) }

// IsValid says whether a leads somewhere.
func (a Addr) IsValid() bool { return a.Host != "" || a.IP.IsValid() }

// Name is the host or the IP as text, without the port.
func (a Addr) Name() string {
	if a.Host != "" || !a.IP.IsValid() {
		return a.Host
	}
	return a.IP.String()
}

// String is host:port, with brackets around an IPv6 address.
func (a Addr) String() string { return net.JoinHostPort(a.Name(), strconv.Itoa(int(a.Port))) }

// Flow is what is known when a TCP connection or a UDP session arrives. It is
// passed by pointer and never written after the inbound made it.
type Flow struct {
	Network     Network
	Source      netip.AddrPort
	Destination Addr
	Inbound     Origin
	DSCP        uint8
}

// Origin says how a flow came in.
type Origin struct {
	Name  string         // the inbound's name: "DEFAULT-MIXED", or as configured
	Type  string         // as the REST API spells it: "HTTP" "HTTPS" "Socks5" "Tun" …
	User  string         // the authenticated user, "" when none
	Local netip.AddrPort // the inbound's own address, as the client reached it
}

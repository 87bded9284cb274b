package socks5

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

// reaching is a server that does what it is asked, CONNECT and UDP ASSOCIATE.
type reaching struct{ server }

func (s reaching) handle(c net.Conn) {
	if !s.greet(c) {
		return
	}
	head := take(c, 3)
	to := takeAddr(c)
	if head[1] == 3 {
		s.associate(c)
		return
	}
	out, err := outboundtest.DialBack(to)
	if err != nil {
		c.Write(refusal(5))
		return
	}
	c.Write(granted)
	outboundtest.Join(c, out)
}

// takeAddr reads: type | address | port.
func takeAddr(c net.Conn) string {
	var host string
	switch take(c, 1)[0] {
	case 1:
		host = netip.AddrFrom4([4]byte(take(c, 4))).String()
	case 4:
		host = netip.AddrFrom16([16]byte(take(c, 16))).String()
	default:
		host = string(take(c, int(take(c, 1)[0])))
	}
	port := take(c, 2)
	return net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1])))
}

// associate relays datagrams until c ends: 00 00 fragment | type address port |
// payload, RFC 1928 §7.
func (s reaching) associate(c net.Conn) {
	relay, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return
	}
	out, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		relay.Close()
		return
	}
	at := relay.LocalAddr().(*net.UDPAddr).AddrPort()
	c.Write(append([]byte{5, 0, 0, 1, 127, 0, 0, 1}, byte(at.Port()>>8), byte(at.Port())))
	client := make(chan netip.AddrPort, 1)
	ended := make(chan struct{}, 2)
	go func() { up(relay, out, client); ended <- struct{}{} }()   // ends with relay
	go func() { down(relay, out, client); ended <- struct{}{} }() // ends with out
	io.Copy(io.Discard, c)
	relay.Close()
	out.Close()
	<-ended
	<-ended
}

func up(relay, out *net.UDPConn, client chan<- netip.AddrPort) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := relay.ReadFromUDPAddrPort(b)
		if err != nil {
			close(client)
			return
		}
		select {
		case client <- from:
		default:
		}
		host, rest := "", b[4:n]
		switch b[3] {
		case 1:
			host, rest = netip.AddrFrom4([4]byte(rest)).String(), rest[4:]
		case 3:
			host, rest = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
		default:
			continue // out speaks IPv4
		}
		to, err := net.ResolveUDPAddr("udp4", net.JoinHostPort(host, strconv.Itoa(int(rest[0])<<8|int(rest[1]))))
		if err == nil {
			out.WriteToUDP(rest[2:], to)
		}
	}
}

func down(relay, out *net.UDPConn, client <-chan netip.AddrPort) {
	b := make([]byte, 1<<16)
	to, ok := <-client
	for ok {
		n, from, err := out.ReadFromUDPAddrPort(b[10:])
		if err != nil {
			return
		}
		ip := from.Addr().Unmap().As4()
		copy(b, append(append([]byte{0, 0, 0, 1}, ip[:]...), byte(from.Port()>>8), byte(from.Port())))
		relay.WriteToUDPAddrPort(b[:10+n], to)
	}
}

func TestConformance(t *testing.T) {
	guarded := reaching{server{user: "alice", password: "secret"}}
	const yaml = "{name: a, type: socks5, server: %HOST%, port: %PORT%, udp: true, username: alice, password: "
	conformance.Outbound(t, Descriptor(), conformance.Case{
		YAML:        yaml + "secret}",
		WrongSecret: yaml + "guess}",
		Server:      func(t testing.TB) framework.Addr { return outboundtest.Serve(t, guarded.handle) },
		Sample:      "sample.yaml",
		MaxDatagram: 65507 - 10, // less the header of a destination that is an IPv4 address
	})
}

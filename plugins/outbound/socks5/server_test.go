package socks5

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

// server is a SOCKS5 server of as few lines as can be, written from RFC 1928
// and apart from the client's code.
type server struct {
	user, password string         // "" asks for none
	reply          []byte         // what it answers to a request
	then           func(net.Conn) // what it does after
	asked          chan []byte    // the request's bytes, when not nil
}

var (
	granted = []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	refusal = func(code byte) []byte { return []byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0} }
)

func (s server) handle(c net.Conn) {
	if !s.greet(c) {
		return
	}
	request := make([]byte, 4, 300)
	if _, err := io.ReadFull(c, request); err != nil {
		return
	}
	n := 4
	switch request[3] {
	case 3:
		length := take(c, 1)
		request = append(request, length...)
		n = int(length[0])
	case 4:
		n = 16
	}
	request = append(request, take(c, n+2)...)
	if s.asked != nil {
		s.asked <- request
	}
	c.Write(s.reply)
	if s.then != nil {
		s.then(c)
	}
}

// greet reads the greeting and, when it has a user, user and password.
func (s server) greet(c net.Conn) bool {
	head := take(c, 2)
	methods := take(c, int(head[1]))
	want := byte(0)
	if s.user != "" {
		want = 2
	}
	if len(methods) != 1 || methods[0] != want {
		c.Write([]byte{5, 0xff})
		return false
	}
	c.Write([]byte{5, want})
	if want == 0 {
		return true
	}
	user := take(c, int(take(c, 2)[1]))
	password := take(c, int(take(c, 1)[0]))
	if string(user) != s.user || string(password) != s.password {
		c.Write([]byte{1, 1})
		return false
	}
	c.Write([]byte{1, 0})
	return true
}

// take reads n bytes, or zeros when the client is gone.
func take(c net.Conn, n int) []byte {
	b := make([]byte, n)
	io.ReadFull(c, b)
	return b
}

func host() outboundtest.Host {
	names := outboundtest.Names{"socks.test": {netip.MustParseAddr("127.0.0.1")}}
	return outboundtest.Host{Via: dialer.New(names, dialer.Options{}, nil), Names: names}
}

// build makes the outbound to a server, with more keys.
func build(t testing.TB, at framework.Addr, more string) framework.Outbound {
	t.Helper()
	return outboundtest.Build(t, Descriptor(), host(), config(at, more))
}

func config(at framework.Addr, more string) string {
	port := at
	port.Host, port.IP = "", netip.Addr{}
	return "{name: a, type: socks5, server: " + at.Name() + ", port: " + port.String()[1:] + more + "}"
}

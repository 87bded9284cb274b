package socks5

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

// relay is the UDP side of a server: a socket that the test speaks for.
func relay(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// bound is the reply that names a relay.
func bound(ip string, r *net.UDPConn) []byte {
	a := netip.MustParseAddr(ip).As4()
	port := r.LocalAddr().(*net.UDPAddr).Port
	return append(append([]byte{5, 0, 0, 1}, a[:]...), byte(port>>8), byte(port))
}

func hold(c net.Conn) { io.Copy(io.Discard, c) }

// associate makes a session through a server that names r under an address.
func associate(t testing.TB, r *net.UDPConn, ip string) framework.PacketConn {
	t.Helper()
	at := outboundtest.Serve(t, server{reply: bound(ip, r), then: hold}.handle)
	return open(t, at)
}

func open(t testing.TB, at framework.Addr) framework.PacketConn {
	t.Helper()
	c, err := build(t, at, ", udp: true").DialPacket(outboundtest.Context(t), site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c
}

var (
	target = framework.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}
	header = []byte{0, 0, 0, 1, 192, 0, 2, 1, 0, 53}
)

// arrived is the next datagram at the relay, and the session's address.
func arrived(t testing.TB, r *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 2048)
	n, from, err := r.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), from
}

func TestPacketsTravelWithTheirAddress(t *testing.T) {
	t.Parallel()
	r := relay(t)
	c := associate(t, r, "127.0.0.1")

	if n, err := c.WritePacket([]byte("hello"), target); n != 5 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	got, session := arrived(t, r)
	if want := string(header) + "hello"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.WritePacket([]byte("name"), framework.Addr{Host: "a.test", Port: 53})
	if got, _ := arrived(t, r); got != "\x00\x00\x00\x03\x06a.test\x00\x35name" {
		t.Errorf("got %q", got)
	}

	r.WriteToUDPAddrPort(append(header, "answer"...), session)
	b := make([]byte, 64)
	n, from, err := c.ReadPacket(b)
	if err != nil || string(b[:n]) != "answer" || from != target {
		t.Errorf("got %q from %v, %v", b[:n], from, err)
	}
}

func TestWhatIsNotFromTheRelayIsSkipped(t *testing.T) {
	t.Parallel()
	r, stranger := relay(t), relay(t)
	c := associate(t, r, "127.0.0.1")
	c.WritePacket([]byte("hello"), target)
	_, session := arrived(t, r)

	stranger.WriteToUDPAddrPort(append(header, "forged"...), session)
	for _, bad := range []string{"", "\x00", "\x00\x00\x00", "\x00\x00\x01\x01\xc0\x00\x02\x01\x00\x35fragment", "\x01\x00\x00\x01\xc0\x00\x02\x01\x00\x35x", "\x00\x00\x00\x09abcdefghi"} {
		r.WriteToUDPAddrPort([]byte(bad), session)
	}
	r.WriteToUDPAddrPort(append(header, "real"...), session)

	b := make([]byte, 64)
	if n, _, err := c.ReadPacket(b); err != nil || string(b[:n]) != "real" {
		t.Errorf("got %q, %v, want real", b[:n], err)
	}
}

func TestLongPacketIsCut(t *testing.T) {
	t.Parallel()
	r := relay(t)
	c := associate(t, r, "127.0.0.1")
	c.WritePacket([]byte("hello"), target)
	_, session := arrived(t, r)
	r.WriteToUDPAddrPort(append(header, "0123456789"...), session)

	var b [4]byte
	n, _, err := c.ReadPacket(b[:])

	if n != 4 || err != nil || string(b[:]) != "0123" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

func TestUnspecifiedRelayIsTheServer(t *testing.T) {
	t.Parallel()
	r := relay(t)
	byAddress := outboundtest.Serve(t, server{reply: bound("0.0.0.0", r), then: hold}.handle)
	byName := byAddress
	byName.Host, byName.IP = "socks.test", netip.Addr{}

	for _, at := range []framework.Addr{byAddress, byName} {
		open(t, at).WritePacket([]byte("hello"), target)

		if got, _ := arrived(t, r); got != string(header)+"hello" {
			t.Errorf("%v: got %q", at, got)
		}
	}
}

func TestEndOfControlEndsTheSession(t *testing.T) {
	t.Parallel()
	r := relay(t)
	end := make(chan struct{})
	at := outboundtest.Serve(t, server{reply: bound("127.0.0.1", r), then: func(net.Conn) { <-end }}.handle)
	c := open(t, at)
	read := make(chan error)
	go func() { // ends with the session
		_, _, err := c.ReadPacket(make([]byte, 10))
		read <- err
	}()

	close(end)

	if err := <-read; !errors.Is(err, framework.ErrRefused) || errors.Is(err, net.ErrClosed) {
		t.Errorf("read: got %v, want the end of the association", err)
	}
	if _, err := c.WritePacket([]byte("x"), target); !errors.Is(err, framework.ErrRefused) {
		t.Errorf("write: got %v, want the end of the association", err)
	}
}

func TestClosedSessionSaysSo(t *testing.T) {
	t.Parallel()
	c := associate(t, relay(t), "127.0.0.1")
	read := make(chan error)
	go func() { // ends when c is closed
		_, _, err := c.ReadPacket(make([]byte, 10))
		read <- err
	}()

	c.Close()
	c.Close()

	if err := <-read; err != net.ErrClosed {
		t.Errorf("read: got %v, want net.ErrClosed", err)
	}
	if _, err := c.WritePacket([]byte("x"), target); err != net.ErrClosed {
		t.Errorf("write: got %v, want net.ErrClosed", err)
	}
}

func TestRelayAtPortZeroIsRefused(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, server{reply: granted, then: hold}.handle)

	_, err := build(t, at, ", udp: true").DialPacket(outboundtest.Context(t), site)

	outboundtest.Is(t, err, framework.ErrProtocol)
}

func TestPacketsNeedTheirSwitch(t *testing.T) {
	t.Parallel()
	at := framework.Addr{Host: "socks.test", Port: 1080}
	off, on := build(t, at, ""), build(t, at, ", udp: true")

	_, err := off.DialPacket(outboundtest.Context(t), site)

	outboundtest.Is(t, err, framework.ErrUnsupported)
	if off.(framework.PacketCarrier).CarriesPackets() || !on.(framework.PacketCarrier).CarriesPackets() {
		t.Error("CarriesPackets does not follow udp")
	}
}

func TestPacketsDoNotAllocate(t *testing.T) {
	r := relay(t)
	c := associate(t, r, "127.0.0.1")
	c.WritePacket([]byte("x"), target)
	_, session := arrived(t, r)
	answer, b := append(header, "answer"...), make([]byte, 1500)
	step := func() {
		c.WritePacket(b[:100], target)
		r.WriteToUDPAddrPort(answer, session)
		c.ReadPacket(b)
	}
	step()

	if got := testing.AllocsPerRun(100, step); got != 0 {
		t.Errorf("got %v allocations a round trip, want 0", got)
	}
}

func BenchmarkPacket(b *testing.B) {
	r := relay(b)
	c := associate(b, r, "127.0.0.1")
	c.SetReadDeadline(time.Time{})
	r.SetDeadline(time.Time{})
	c.WritePacket([]byte("x"), target)
	_, session := arrived(b, r)
	answer, buf := append(header, make([]byte, 1200)...), make([]byte, 1500)
	drain := make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		c.WritePacket(buf[:1200], target)
		r.ReadFromUDPAddrPort(drain)
		r.WriteToUDPAddrPort(answer, session)
		c.ReadPacket(buf)
	}
}

package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/tests/require"
)

// echo sends packets back to where they came from.
func echo(t testing.TB, ip netip.Addr) framework.Addr {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		require.That(t, false, err.Error())
	}
	done := make(chan struct{})
	go func() { // ends when c is closed
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return framework.AddrFrom(c.LocalAddr().(*net.UDPAddr).AddrPort())
}

func dialPacket(t testing.TB, d *Dialer, to framework.Addr) framework.PacketConn {
	t.Helper()
	c, err := d.DialPacket(testContext(t), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c
}

func exchange(t testing.TB, c framework.PacketConn, to, want framework.Addr) {
	t.Helper()
	if n, err := c.WritePacket([]byte("hello"), to); n != 5 || err != nil {
		t.Fatalf("write: got %d, %v", n, err)
	}
	var b [16]byte
	n, from, err := c.ReadPacket(b[:])
	if err != nil || string(b[:n]) != "hello" || from != want {
		t.Fatalf("read: got %q from %v, %v; want hello from %v", b[:n], from, err, want)
	}
}

func TestOneSessionReachesBothFamilies(t *testing.T) {
	t.Parallel()
	e4, e6 := echo(t, four), echo(t, six)
	c := dialPacket(t, New(nil, Options{}, nil), e4)

	exchange(t, c, e4, e4)
	exchange(t, c, e6, e6)
}

func TestPacketVersionIsKept(t *testing.T) {
	t.Parallel()
	e4, e6 := echo(t, four), echo(t, six)
	c4 := dialPacket(t, New(nil, Options{IPVersion: IPv4}, nil), e4)
	c6 := dialPacket(t, New(nil, Options{IPVersion: IPv6}, nil), e6)

	exchange(t, c4, e4, e4)
	exchange(t, c6, e6, e6)

	if _, err := c4.WritePacket([]byte("x"), e6); !errors.Is(err, errNotIPv4) {
		t.Errorf("got %v, want %v", err, errNotIPv4)
	}
	if _, err := c6.WritePacket([]byte("x"), e4); !errors.Is(err, errNotIPv6) {
		t.Errorf("got %v, want %v", err, errNotIPv6)
	}
}

// counted counts lookups.
type counted struct {
	names
	n atomic.Int32
}

func (c *counted) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	c.n.Add(1)
	return c.names.Lookup(ctx, host)
}

func TestSessionRemembersNames(t *testing.T) {
	t.Parallel()
	e := echo(t, four)
	r := &counted{names: names{"echo.test": {six, four}, "other.test": {four}}}
	named := framework.Addr{Host: "echo.test", Port: e.Port}
	c := dialPacket(t, New(r, Options{IPVersion: PreferIPv4}, nil), named)

	for range 3 {
		exchange(t, c, named, e)
		exchange(t, c, framework.Addr{Host: "other.test", Port: e.Port}, e)
	}

	if got := r.n.Load(); got != 2 {
		t.Errorf("got %d lookups, want 2", got)
	}
	if _, err := c.WritePacket([]byte("x"), framework.Addr{Host: "nowhere.test", Port: 1}); !errors.Is(err, framework.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func TestClosedPortDoesNotEndTheSession(t *testing.T) {
	t.Parallel()
	e := echo(t, four)
	gone, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(four, 0)))
	if err != nil {
		t.Fatal(err)
	}
	dead := framework.AddrFrom(gone.LocalAddr().(*net.UDPAddr).AddrPort())
	gone.Close()
	c := dialPacket(t, New(nil, Options{}, nil), e)

	for range 3 {
		if _, err := c.WritePacket([]byte("x"), dead); err != nil {
			t.Errorf("write to a closed port: %v", err)
		}
		exchange(t, c, e, e)
	}
}

func TestLongPacketIsCut(t *testing.T) {
	t.Parallel()
	e := echo(t, four)
	c := dialPacket(t, New(nil, Options{}, nil), e)
	if _, err := c.WritePacket([]byte("hello"), e); err != nil {
		t.Fatal(err)
	}

	var b [3]byte
	n, _, err := c.ReadPacket(b[:])

	if n != 3 || err != nil || string(b[:]) != "hel" {
		t.Errorf("got %d, %q, %v", n, b[:n], err)
	}
}

func TestClosedSessionSaysSo(t *testing.T) {
	t.Parallel()
	e := echo(t, four)
	c := dialPacket(t, New(nil, Options{}, nil), e)
	read := make(chan error)
	go func() { // ends when c is closed
		_, _, err := c.ReadPacket(make([]byte, 10))
		read <- err
	}()

	c.Close()

	if err := <-read; err != net.ErrClosed {
		t.Errorf("read: got %v, want net.ErrClosed", err)
	}
	if _, err := c.WritePacket([]byte("x"), e); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: got %v, want net.ErrClosed", err)
	}
	c.Close()
}

func TestDeadlineEndsARead(t *testing.T) {
	t.Parallel()
	c := dialPacket(t, New(nil, Options{}, nil), echo(t, four))
	c.SetReadDeadline(time.Now())

	_, _, err := c.ReadPacket(make([]byte, 10))

	if !errors.Is(err, framework.ErrTimeout) && framework.Classify(err) != framework.ErrTimeout {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestPacketsToAddressesDoNotAllocate(t *testing.T) {
	e := echo(t, four)
	for story, o := range map[string]Options{"dual": {}, "ipv4": {IPVersion: IPv4}} {
		c := dialPacket(t, New(nil, o, nil), e)
		b := make([]byte, 64)
		if got := testing.AllocsPerRun(200, func() {
			c.WritePacket(b[:5], e)
			c.ReadPacket(b)
		}); got != 0 {
			t.Errorf("%s: got %v allocations a round trip, want 0", story, got)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	e := echo(b, four)
	for _, o := range []Options{{}, {IPVersion: IPv4}} {
		b.Run(o.IPVersion.String(), func(b *testing.B) {
			c := dialPacket(b, New(nil, o, nil), e)
			buf := make([]byte, 1400)
			b.ReportAllocs()
			for b.Loop() {
				c.WritePacket(buf, e)
				c.ReadPacket(buf)
			}
		})
	}
}

package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/tests/require"
)

// silent is an address that answers no connection: a listener whose queue is
// full drops what knocks.
func silent(t *testing.T, ip netip.Addr, port uint16) netip.AddrPort {
	t.Helper()
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(port), Addr: ip.As16()})
	if ip.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: ip.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		require.That(t, false, err.Error())
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, sa); err != nil {
		require.That(t, false, err.Error())
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		port = uint16(b.Port)
	case *unix.SockaddrInet6:
		port = uint16(b.Port)
	}
	at := netip.AddrPortFrom(ip, port)
	for range 8 { // a queue of 0 holds one or two
		c, err := net.DialTimeout("tcp", at.String(), 50*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { c.Close() })
	}
	require.That(t, false, "a system that queues no connections beyond the backlog")
	return at
}

func TestSilenceTimesOut(t *testing.T) {
	t.Parallel()
	at := silent(t, four, 0)

	_, err := New(nil, Options{Timeout: 30 * time.Millisecond}, nil).DialStream(context.Background(), framework.AddrFrom(at))

	if !errors.Is(err, framework.ErrTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	if got, want := err.Error(), "dial tcp "+at.String()+": i/o timeout"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEarlierDeadlineOfContextHolds(t *testing.T) {
	t.Parallel()
	at := silent(t, four, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()

	_, err := New(nil, Options{}, nil).DialStream(ctx, framework.AddrFrom(at))

	if !errors.Is(err, framework.ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
}

func TestCancelEndsTheDial(t *testing.T) {
	t.Parallel()
	at := silent(t, four, 0)
	r := names{"silent.test": {four}, "twice.test": {four, four}, "both.test": {four, six}}
	for _, host := range []string{"", "silent.test", "twice.test", "both.test"} {
		to := framework.Addr{Host: host, Port: at.Port()}
		if host == "" {
			to = framework.AddrFrom(at)
		}
		ctx, cancel := context.WithCancel(context.Background())
		canceled := make(chan time.Time, 1)
		time.AfterFunc(20*time.Millisecond, func() { canceled <- time.Now(); cancel() })

		_, err := New(r, Options{}, nil).DialStream(ctx, to)

		if took := time.Since(<-canceled); took > 100*time.Millisecond {
			t.Errorf("%q: returned %v after the cancel", host, took)
		}
		if host != "both.test" && !errors.Is(err, context.Canceled) || framework.Classify(err) == nil {
			t.Errorf("%q: got %v, want a classed context.Canceled", host, err)
		}
	}
}

func TestSecondFamilyStartsAfterTheHeadStart(t *testing.T) {
	t.Parallel()
	at := listen(t, four)
	silent(t, six, at.Port())
	r := names{"both.test": {six, four}}
	started := time.Now()

	c, err := New(r, Options{}, nil).DialStream(testContext(t), framework.Addr{Host: "both.test", Port: at.Port()})

	if err != nil {
		t.Fatal(err)
	}
	if got := remote(t, c); got != at {
		t.Errorf("got %v, want %v", got, at)
	}
	if took := time.Since(started); took < headStart || took > headStart+time.Second {
		t.Errorf("took %v, want the head start of %v", took, headStart)
	}
}

func TestConcurrentDialDoesNotWaitForSilence(t *testing.T) {
	t.Parallel()
	first := netip.MustParseAddr("127.0.0.2")
	for _, c := range []struct {
		story string
		ips   []netip.Addr
		quiet netip.Addr
	}{
		{"in one family", []netip.Addr{first, four}, first},
		{"across families", []netip.Addr{six, four}, six},
	} {
		t.Run(c.story, func(t *testing.T) {
			t.Parallel()
			at := listen(t, four)
			silent(t, c.quiet, at.Port())
			settings := new(Settings)
			settings.Store(Global{IPv6: true, Concurrent: true})
			started := time.Now()

			got, err := New(names{"both.test": c.ips}, Options{}, settings).
				DialStream(testContext(t), framework.Addr{Host: "both.test", Port: at.Port()})

			if err != nil {
				t.Fatal(err)
			}
			if ip := remote(t, got); ip != at {
				t.Errorf("got %v, want %v", ip, at)
			}
			if took := time.Since(started); took >= headStart {
				t.Errorf("took %v, want less than the head start", took)
			}
		})
	}
}

func TestNextAddressOfAFamilyIsTried(t *testing.T) {
	t.Parallel()
	at := listen(t, four)
	r := names{"two.test": {netip.MustParseAddr("127.0.0.2"), four}}

	c, err := New(r, Options{}, nil).DialStream(testContext(t), framework.Addr{Host: "two.test", Port: at.Port()})

	if err != nil {
		t.Fatal(err)
	}
	if got := remote(t, c); got != at {
		t.Errorf("got %v, want %v", got, at)
	}
}

func TestInterfaceBindsAllButLoopback(t *testing.T) {
	t.Parallel()
	at := listen(t, four)
	settings := new(Settings)
	settings.Store(Global{Interface: "nosuch0", IPv6: true})
	outside := framework.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 9} // never reached: binding fails first
	for story, d := range map[string]*Dialer{
		"of the outbound": New(nil, Options{Interface: "nosuch0"}, nil),
		"of the process":  New(nil, Options{}, settings),
	} {
		c, err := d.DialStream(testContext(t), framework.AddrFrom(at))
		if err != nil {
			t.Errorf("%s: loopback: %v", story, err)
		} else {
			c.Close()
		}
		_, stream := d.DialStream(testContext(t), outside)
		_, packet := d.DialPacket(testContext(t), outside)
		for _, err := range []error{stream, packet} {
			if err == nil || !strings.Contains(err.Error(), "bind to interface nosuch0: ") || framework.Classify(err) == nil {
				t.Errorf("%s: got %v, want one about the interface", story, err)
			}
		}
	}
}

func TestMarkIsSet(t *testing.T) {
	t.Parallel()
	at := listen(t, four)

	c, err := New(nil, Options{Mark: 7}, nil).DialStream(testContext(t), framework.AddrFrom(at))

	if errors.Is(err, syscall.EPERM) {
		if !strings.Contains(err.Error(), "set mark 7: operation not permitted") || !errors.Is(err, framework.ErrUnreachable) {
			t.Errorf("got %v, want one about the mark", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := option(t, c.(*net.TCPConn), unix.SOL_SOCKET, unix.SO_MARK); got != 7 {
		t.Errorf("got mark %d, want 7", got)
	}
}

func TestKeepAliveFollowsSettings(t *testing.T) {
	t.Parallel()
	at := listen(t, four)
	for _, c := range []struct {
		story              string
		global             Global
		on, idle, interval int
	}{
		{"by default", DefaultGlobal(), 1, 15, 15},
		{"as set", Global{KeepAliveIdle: 40 * time.Second, KeepAliveInterval: 7 * time.Second}, 1, 40, 7},
		{"off", Global{KeepAliveOff: true}, 0, 0, 0},
	} {
		settings := new(Settings)
		settings.Store(c.global)
		conn, err := New(nil, Options{}, settings).DialStream(testContext(t), framework.AddrFrom(at))
		if err != nil {
			t.Fatal(err)
		}
		tcp := conn.(*net.TCPConn)
		if got := option(t, tcp, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != c.on {
			t.Errorf("%s: got keep-alive %d, want %d", c.story, got, c.on)
		}
		if got := option(t, tcp, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); c.on == 1 && got != c.idle {
			t.Errorf("%s: got idle %d, want %d", c.story, got, c.idle)
		}
		if got := option(t, tcp, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL); c.on == 1 && got != c.interval {
			t.Errorf("%s: got interval %d, want %d", c.story, got, c.interval)
		}
		conn.Close()
	}
}

func TestFastOpenAndMultipathConnect(t *testing.T) {
	t.Parallel()
	at := listen(t, four)

	c, err := New(nil, Options{TFO: true, MPTCP: true}, nil).DialStream(testContext(t), framework.AddrFrom(at))

	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := option(t, c.(*net.TCPConn), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT); got != 1 {
		t.Errorf("got fast open %d, want 1", got)
	}
}

func option(t *testing.T, c *net.TCPConn, level, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { value, failed = unix.GetsockoptInt(int(fd), level, name) }); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return value
}

package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/tests/require"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver that knows what it holds.
type names map[string][]netip.Addr

func (n names) Lookup(_ context.Context, host string) ([]netip.Addr, error) {
	if ips := n[host]; len(ips) > 0 {
		return ips, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

var (
	four = netip.MustParseAddr("127.0.0.1")
	six  = netip.MustParseAddr("::1")
)

// listen accepts connections on ip and drops them at the end of the test.
func listen(t testing.TB, ip netip.Addr) netip.AddrPort {
	t.Helper()
	return listenAt(t, netip.AddrPortFrom(ip, 0))
}

func listenAt(t testing.TB, at netip.AddrPort) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		if at.Addr().Is6() {
			require.That(t, false, "IPv6: "+err.Error())
		}
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when l is closed
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// closedPort is a port on ip that nobody listens at.
func closedPort(t testing.TB, ip netip.Addr) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		require.That(t, false, err.Error())
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func remote(t *testing.T, c net.Conn) netip.AddrPort {
	t.Helper()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("got a %T, want a *net.TCPConn", c)
	}
	defer c.Close()
	return tcp.RemoteAddr().(*net.TCPAddr).AddrPort()
}

func TestStreamToAddressIsRaw(t *testing.T) {
	t.Parallel()
	at := listen(t, four)

	c, err := New(nil, Options{}, nil).DialStream(context.Background(), framework.AddrFrom(at))

	if err != nil {
		t.Fatal(err)
	}
	if got := remote(t, c); got != at {
		t.Errorf("got %v, want %v", got, at)
	}
}

func TestRefusalSaysWhatWasDialled(t *testing.T) {
	t.Parallel()
	at := closedPort(t, four)

	_, err := New(nil, Options{}, nil).DialStream(testContext(t), framework.AddrFrom(at))

	if !errors.Is(err, framework.ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
	if got, want := err.Error(), "dial tcp "+at.String()+": connection refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnknownNameIsUnreachable(t *testing.T) {
	t.Parallel()
	d := New(names{}, Options{}, nil)
	to := framework.Addr{Host: "nowhere.test", Port: 80}

	_, stream := d.DialStream(testContext(t), to)
	_, packet := d.DialPacket(testContext(t), to)

	for _, err := range []error{stream, packet} {
		if !errors.Is(err, framework.ErrUnreachable) {
			t.Errorf("got %v, want ErrUnreachable", err)
		}
	}
	if got, want := stream.Error(), "dial tcp nowhere.test:80: lookup nowhere.test: no such host"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNowhereIsAnError(t *testing.T) {
	t.Parallel()
	d := New(nil, Options{}, nil)

	if _, err := d.DialStream(testContext(t), framework.Addr{}); !errors.Is(err, framework.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
	if _, err := d.DialPacket(testContext(t), framework.Addr{}); !errors.Is(err, framework.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func TestVersionChoosesFamily(t *testing.T) {
	t.Parallel()
	at := listen(t, six)
	listenAt(t, netip.AddrPortFrom(four, at.Port()))
	mapped := netip.AddrFrom16(four.As16())
	r := names{"both.test": {six, four}, "four-first.test": {mapped, six}}
	for _, c := range []struct {
		version IPVersion
		host    string
		want    netip.Addr
	}{
		{Dual, "both.test", six},
		{Dual, "four-first.test", four},
		{IPv4, "both.test", four},
		{IPv6, "four-first.test", six},
		{PreferIPv4, "both.test", four},
		{PreferIPv6, "four-first.test", six},
	} {
		t.Run(c.version.String()+" "+c.host, func(t *testing.T) {
			t.Parallel()

			got, err := New(r, Options{IPVersion: c.version}, nil).
				DialStream(testContext(t), framework.Addr{Host: c.host, Port: at.Port()})

			if err != nil {
				t.Fatal(err)
			}
			if ip := remote(t, got).Addr(); ip != c.want {
				t.Errorf("got %v, want %v", ip, c.want)
			}
		})
	}
}

func TestForbiddenFamilyFailsWithoutDial(t *testing.T) {
	t.Parallel()
	var off Settings
	off.Store(Global{IPv6: false})
	at := func(ip netip.Addr) framework.Addr { return framework.Addr{IP: ip, Port: 1} }
	only6 := framework.Addr{Host: "six.test", Port: 1}
	r := names{"six.test": {six}}
	for _, c := range []struct {
		story    string
		version  IPVersion
		settings *Settings
		to       framework.Addr
		want     error
	}{
		{"literal with ipv6 off", Dual, &off, at(six), errIPv6Off},
		{"literal with ip-version ipv4", IPv4, nil, at(six), errNotIPv4},
		{"literal with ip-version ipv6", IPv6, nil, at(four), errNotIPv6},
		{"name with ipv6 off", Dual, &off, only6, errNoAddress},
		{"name with ip-version ipv4", IPv4, nil, only6, errNoAddress},
	} {
		t.Run(c.story, func(t *testing.T) {
			t.Parallel()
			d := New(r, Options{IPVersion: c.version}, c.settings)

			_, stream := d.DialStream(testContext(t), c.to)
			_, packet := d.DialPacket(testContext(t), c.to)

			for _, err := range []error{stream, packet} {
				if !errors.Is(err, c.want) || !errors.Is(err, framework.ErrUnreachable) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			}
		})
	}
}

func TestSettingsHoldForTheNextDial(t *testing.T) {
	t.Parallel()
	at := listen(t, six)
	settings := new(Settings)
	d := New(nil, Options{}, settings)

	c, err := d.DialStream(testContext(t), framework.AddrFrom(at))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	settings.Store(Global{IPv6: false})

	if _, err := d.DialStream(testContext(t), framework.AddrFrom(at)); !errors.Is(err, errIPv6Off) {
		t.Errorf("got %v, want %v", err, errIPv6Off)
	}
}

func TestOtherFamilyIsTriedAtOnceWhenTheFirstFails(t *testing.T) {
	t.Parallel()
	at := listen(t, four) // nobody at [::1]
	r := names{"both.test": {six, four}}
	started := time.Now()

	c, err := New(r, Options{}, nil).DialStream(testContext(t), framework.Addr{Host: "both.test", Port: at.Port()})

	if err != nil {
		t.Fatal(err)
	}
	if got := remote(t, c); got != at {
		t.Errorf("got %v, want %v", got, at)
	}
	if took := time.Since(started); took >= headStart {
		t.Errorf("took %v, want less than the head start", took)
	}
}

func TestErrorIsThatOfTheFirstAddress(t *testing.T) {
	t.Parallel()
	at := closedPort(t, four)
	r := names{"both.test": {four, six}}
	for _, concurrent := range []bool{false, true} {
		settings := new(Settings)
		settings.Store(Global{IPv6: true, Concurrent: concurrent})

		_, err := New(r, Options{}, settings).DialStream(testContext(t), framework.Addr{Host: "both.test", Port: at.Port()})

		if err == nil || !strings.HasPrefix(err.Error(), "dial tcp "+at.String()) {
			t.Errorf("concurrent %v: got %v, want one about %v", concurrent, err, at)
		}
	}
}

func TestVersionsAreRead(t *testing.T) {
	t.Parallel()
	for v, text := range versions {
		if got, ok := ParseIPVersion(text); got != IPVersion(v) || !ok {
			t.Errorf("%s: got %v %v", text, got, ok)
		}
	}
	if got, ok := ParseIPVersion(""); got != Dual || !ok {
		t.Errorf("empty: got %v %v", got, ok)
	}
	if got, ok := ParseIPVersion("ipv5"); got != Dual || ok {
		t.Errorf("ipv5: got %v %v", got, ok)
	}
}

func TestSystemResolvesLocalhost(t *testing.T) {
	t.Parallel()
	ips, err := System{}.Lookup(testContext(t), "localhost")
	if err != nil || len(ips) == 0 {
		t.Fatalf("got %v, %v", ips, err)
	}
	for _, ip := range ips {
		if !ip.IsLoopback() || ip.Is4In6() {
			t.Errorf("got %v", ip)
		}
	}
}

func TestDialAllocatesLessThanNetDialerWithTimeout(t *testing.T) {
	at := listen(t, four)
	d, ctx := New(nil, Options{}, nil), context.Background()
	plain := testing.AllocsPerRun(50, func() { dialPlain(t, ctx, at) })

	ours := testing.AllocsPerRun(50, func() {
		c, err := d.DialStream(ctx, framework.AddrFrom(at))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})

	if ours >= plain {
		t.Errorf("got %v allocations, a net.Dialer makes %v", ours, plain)
	}
}

func dialPlain(t testing.TB, ctx context.Context, at netip.AddrPort) {
	c, err := (&net.Dialer{Timeout: DefaultTimeout}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func BenchmarkDial(b *testing.B) {
	at := listen(b, four)
	dial := func(d *Dialer, ctx context.Context) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := d.DialStream(ctx, framework.AddrFrom(at))
				if err != nil {
					b.Fatal(err)
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}
	}
	plain := func(timeout time.Duration) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := (&net.Dialer{Timeout: timeout}).Dial("tcp", at.String())
				if err != nil {
					b.Fatal(err)
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Run("net.Dialer", plain(0))
	b.Run("net.Dialer timeout", plain(5*time.Second))
	b.Run("Dialer", dial(New(nil, Options{}, nil), context.Background()))
	b.Run("Dialer cancel", dial(New(nil, Options{}, nil), ctx))
}

// stuck is a resolver that never answers.
type stuck struct{}

func (stuck) Lookup(ctx context.Context, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSilentResolverEndsTheDial(t *testing.T) {
	t.Parallel()
	to := framework.Addr{Host: "slow.test", Port: 80}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		story   string
		ctx     context.Context
		timeout time.Duration
	}{
		{"by its timeout", context.Background(), 20 * time.Millisecond},
		{"by the context", canceled, 0},
	} {
		d := New(stuck{}, Options{Timeout: c.timeout}, nil)

		_, stream := d.DialStream(c.ctx, to)
		_, packet := d.DialPacket(c.ctx, to)

		for _, err := range []error{stream, packet} {
			if !errors.Is(err, framework.ErrTimeout) {
				t.Errorf("%s: got %v, want ErrTimeout", c.story, err)
			}
		}
	}
}

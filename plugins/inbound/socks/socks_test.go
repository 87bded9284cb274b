package socks

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/proxy"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/accept"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
	"github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSampleHasEveryKey(t *testing.T) {
	t.Parallel()
	inboundtest.Sample(t, Descriptor())
}

// start runs an instance on a free port of loopback.
func start(t *testing.T, host *inboundtest.Host, h framework.Handler, change func(*Config)) string {
	t.Helper()
	c := Default()
	c.Listen = "127.0.0.1"
	if change != nil {
		change(&c)
	}
	in, err := New(context.Background(), host, c)
	if err != nil {
		t.Fatal(err)
	}
	return inboundtest.Run(t, in, host, h)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func echoes(t *testing.T, c net.Conn) {
	t.Helper()
	got := make([]byte, 5)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v, want hello", got, err)
	}
}

func TestOtherPeoplesClientGoesThrough(t *testing.T) {
	t.Parallel()
	echo, h := inboundtest.Echo(t), &inboundtest.Handler{}
	address := start(t, inboundtest.NewHost(), h, nil)
	d, err := proxy.SOCKS5("tcp", address, nil, nil)
	if err != nil {
		t.Fatal(err)
	}

	c, err := d.Dial("tcp", net.JoinHostPort("Echo.Test", strings.TrimPrefix(echo.String(), "127.0.0.1:")))

	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echoes(t, c)
	f := h.Flows()[0]
	if f.Destination != (framework.Addr{Host: "echo.test", Port: echo.Port()}) || f.Inbound.Type != "Socks5" || f.Inbound.Name != "test-in" ||
		f.Inbound.Local.String() != address || f.Source.String() != c.LocalAddr().String() {
		t.Errorf("got flow %+v", f)
	}
}

func TestOnlyUsersComeInWhereTheyAreRequired(t *testing.T) {
	t.Parallel()
	echo := inboundtest.Echo(t)
	for name, c := range map[string]struct {
		users []accept.User // nil for the host's, which are me:secret
		auth  *proxy.Auth
		want  bool
	}{
		"host's user":         {nil, &proxy.Auth{User: "me", Password: "secret"}, true},
		"wrong password":      {nil, &proxy.Auth{User: "me", Password: "wrong"}, false},
		"no credentials":      {nil, nil, false},
		"own user":            {[]accept.User{{Username: "you", Password: "x"}}, &proxy.Auth{User: "you", Password: "x"}, true},
		"host's is not own":   {[]accept.User{{Username: "you", Password: "x"}}, &proxy.Auth{User: "me", Password: "secret"}, false},
		"empty list, nobody":  {[]accept.User{}, nil, true},
		"empty list, anybody": {[]accept.User{}, &proxy.Auth{User: "any", Password: "thing"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, h := inboundtest.NewHost(), &inboundtest.Handler{}
			host.Access = inboundtest.Access{User: "me", Password: "secret"}
			address := start(t, host, h, func(cfg *Config) {
				if c.users != nil {
					cfg.Users = &c.users
				}
			})
			d, _ := proxy.SOCKS5("tcp", address, c.auth, nil)
			conn, err := d.Dial("tcp", echo.String())
			if (err == nil) != c.want {
				t.Fatalf("got %v, want success %v", err, c.want)
			}
			if err != nil {
				return
			}
			defer conn.Close()
			echoes(t, conn)
			if want := c.auth; want != nil && want.User != "any" && h.Flows()[0].Inbound.User != want.User {
				t.Errorf("got user %q, want %q", h.Flows()[0].Inbound.User, want.User)
			}
		})
	}
}

func TestUsersAreAbsentEmptyOrGiven(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": -1, ", users: []": 0, ", users: [{username: a, password: 1}, {username: b}]": 2} {
		c := Default()
		if err := inboundtest.Source(t, "listeners: [{name: n, type: socks, port: 1080"+text+"}]").Decode(&c); err != nil {
			t.Fatal(err)
		}
		got := -1
		if c.Users != nil {
			got = len(*c.Users)
		}
		if got != want || c.Port != "1080" || !c.UDP {
			t.Errorf("%q: got %d users, %+v, want %d", text, got, c, want)
		}
	}
	for _, text := range []string{"listen: localhost", "port: http", "users: 5", "client-auth-type: x"} {
		if err := Descriptor().Check(inboundtest.Source(t, "listeners: [{"+text+"}]")); err == nil {
			t.Errorf("%s: got no error", text)
		}
	}
}

func TestVersion4IsServed(t *testing.T) {
	t.Parallel()
	echo := inboundtest.Echo(t)
	port := string(binary.BigEndian.AppendUint16(nil, echo.Port()))
	for name, c := range map[string]struct {
		request string
		access  inboundtest.Access
		code    byte
		to      string
	}{
		"4":                      {"\x04\x01" + port + "\x7f\x00\x00\x01user\x00", inboundtest.Access{}, 0x5a, "127.0.0.1"},
		"4a":                     {"\x04\x01" + port + "\x00\x00\x00\x01\x00Echo.Test\x00", inboundtest.Access{}, 0x5a, "echo.test"},
		"user without password":  {"\x04\x01" + port + "\x7f\x00\x00\x01e\x00", inboundtest.Access{User: "e"}, 0x5a, "127.0.0.1"},
		"user with password":     {"\x04\x01" + port + "\x7f\x00\x00\x01me\x00", inboundtest.Access{User: "me", Password: "secret"}, 0x5b, ""},
		"no user where required": {"\x04\x01" + port + "\x7f\x00\x00\x01\x00", inboundtest.Access{User: "e"}, 0x5b, ""},
		"bind":                   {"\x04\x02" + port + "\x7f\x00\x00\x01\x00", inboundtest.Access{}, 0x5b, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, h := inboundtest.NewHost(), &inboundtest.Handler{}
			host.Access = c.access
			conn := dial(t, start(t, host, h, nil))
			io.WriteString(conn, c.request)
			var reply [8]byte
			if _, err := io.ReadFull(conn, reply[:]); err != nil || reply != [8]byte{0, c.code} {
				t.Fatalf("got % x, %v, want code %x", reply, err, c.code)
			}
			if c.code == 0x5a {
				echoes(t, conn)
				if f := h.Flows()[0]; f.Destination.Name() != c.to || f.Inbound.Type != "Socks4" {
					t.Errorf("got flow %+v", f)
				}
			}
		})
	}
}

func TestDialErrorBecomesReplyCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code byte
	}{
		{framework.ErrRefused, 5}, {framework.ErrTimeout, 6}, {framework.ErrUnreachable, 4}, {framework.ErrRejected, 0},
		{framework.ErrUnsupported, 7}, {framework.ErrUnavailable, 1}, {framework.ErrAuth, 1}, {errors.New("other"), 1},
	} {
		h := &inboundtest.Handler{Dial: func(framework.Addr) (net.Conn, error) { return nil, c.err }}
		conn := dial(t, start(t, inboundtest.NewHost(), h, nil))
		io.WriteString(conn, "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
		got, err := io.ReadAll(conn)
		if err != nil || len(got) != 12 || got[3] != c.code {
			t.Errorf("%v: got % x, %v, want code %d and an end", c.err, got, err, c.code)
		}
	}
}

func TestReplyNamesTheLocalAddressAndPipelinedBytesArrive(t *testing.T) {
	t.Parallel()
	echo := inboundtest.Echo(t)
	address := start(t, inboundtest.NewHost(), &inboundtest.Handler{}, nil)
	conn := dial(t, address)
	request, _ := socks5.AppendAddr([]byte("\x05\x01\x00\x05\x01\x00"), framework.AddrFrom(echo))

	conn.Write(append(request, "early"...))

	want, _ := socks5.AppendAddr([]byte("\x05\x00\x05\x00\x00"), framework.AddrFrom(netip.MustParseAddrPort(address)))
	want = append(want, "early"...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != string(want) {
		t.Fatalf("got % x, %v, want % x", got, err, want)
	}
}

func TestFilteredSourceGetsNoByte(t *testing.T) {
	t.Parallel()
	host := inboundtest.NewHost()
	host.Access = inboundtest.Access{Deny: true}
	conn := dial(t, start(t, host, &inboundtest.Handler{}, nil))
	if b, err := io.ReadAll(conn); len(b) != 0 {
		t.Errorf("got % x, %v, want an end", b, err)
	}
}

func TestDatagramsComeBackFromWhereTheyWent(t *testing.T) {
	t.Parallel()
	h := &inboundtest.Handler{}
	address := start(t, inboundtest.NewHost(), h, nil)
	control := dial(t, address)
	relay, err := socks5.Associate(control, "", "")
	if err != nil || relay.String() != address {
		t.Fatalf("got %v, %v, want %s", relay, err, address)
	}
	c, err := net.Dial("udp", relay.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))

	for _, hostile := range []string{"", "\x00", "\x00\x00\x01\x01\x7f\x00\x00\x01\x00\x35frag", "\x01\x00\x00\x01\x7f\x00\x00\x01\x00\x35", "\x00\x00\x00\x09", "\x00\x00\x00\x03\xffa",
		"\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x00zero port"} {
		io.WriteString(c, hostile)
	}
	for _, to := range []framework.Addr{{Host: "a.test", Port: 53}, framework.AddrFrom(netip.MustParseAddrPort("[2001:db8::1]:53"))} {
		want, _ := socks5.AppendHeader(nil, to)
		want = append(want, "query"...)
		c.Write(want)
		got := make([]byte, 512)
		n, err := c.Read(got)
		if err != nil || string(got[:n]) != string(want) {
			t.Errorf("%v: got % x, %v, want % x", to, got[:n], err, want)
		}
	}
	if n := len(h.Packets()); n != 2 {
		t.Errorf("got %d packets, want 2", n)
	}
}

func TestDatagramNeedsAnAuthenticatedAssociation(t *testing.T) {
	t.Parallel()
	host, h := inboundtest.NewHost(), &inboundtest.Handler{}
	host.Access = inboundtest.Access{User: "me", Password: "secret"}
	address := start(t, host, h, nil)
	udp, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	udp.SetDeadline(time.Now().Add(5 * time.Second))
	datagram := func(text string) string { return "\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x35" + text }

	io.WriteString(udp, datagram("before"))
	if _, err := socks5.Associate(dial(t, address), "me", "wrong"); !errors.Is(err, framework.ErrAuth) {
		t.Fatalf("got %v, want %v", err, framework.ErrAuth)
	}
	if _, err := socks5.Associate(dial(t, address), "me", "secret"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(udp, datagram("after"))

	got := make([]byte, 64)
	n, err := udp.Read(got)
	if err != nil || string(got[:n]) != datagram("after") {
		t.Fatalf("got %q, %v, want the datagram sent after", got[:n], err)
	}
	if p := h.Packets(); p[0].User != "me" {
		t.Errorf("got user %q, want me", p[0].User)
	}
}

func TestWithoutUDPAssociateIsRefused(t *testing.T) {
	t.Parallel()
	address := start(t, inboundtest.NewHost(), &inboundtest.Handler{}, func(c *Config) { c.UDP = false })
	if _, err := socks5.Associate(dial(t, address), "", ""); !errors.Is(err, framework.ErrUnsupported) {
		t.Errorf("got %v, want %v", err, framework.ErrUnsupported)
	}
}

func TestPortThatIsTakenFailsStartWhole(t *testing.T) {
	t.Parallel()
	var held error
	for range 5 { // another test's client may have the number meanwhile
		if held = startOnTaken(t); held == nil {
			return
		}
	}
	t.Errorf("tcp port is still held: %v", held)
}

// startOnTaken starts an inbound at a port that UDP has not, and says whether
// TCP has it afterwards.
func startOnTaken(t *testing.T) error {
	t.Helper()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := Default()
	c.Listen, c.Port = "127.0.0.1", strings.TrimPrefix(taken.LocalAddr().String(), "127.0.0.1:")
	in, _ := New(context.Background(), inboundtest.NewHost(), c)
	defer in.Close()

	if err := in.Start(context.Background(), &inboundtest.Handler{}); err == nil {
		t.Fatal("got no error")
	}

	l, err := net.Listen("tcp", taken.LocalAddr().String())
	if err != nil {
		return err
	}
	return l.Close()
}

func TestCloseEndsAssociationsAndHandshakesAndLeavesFlows(t *testing.T) {
	t.Parallel()
	echo, host, h := inboundtest.Echo(t), inboundtest.NewHost(), &inboundtest.Handler{}
	c := Default()
	c.Listen = "127.0.0.1"
	in, _ := New(context.Background(), host, c)
	address := inboundtest.Run(t, in, host, h)
	flow, half, control := dial(t, address), dial(t, address), dial(t, address)
	if err := socks5.Connect(flow, framework.AddrFrom(echo), "", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := socks5.Associate(control, "", ""); err != nil {
		t.Fatal(err)
	}
	io.WriteString(half, "\x05")

	for range 2 {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}

	for name, c := range map[string]net.Conn{"handshake": half, "association": control} {
		if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s is still open", name)
		}
	}
	echoes(t, flow)
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("closed inbound still accepts")
	}
	flow.Close()
	h.Wait()
}

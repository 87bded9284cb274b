package socks5

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
	socks "github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var site = framework.Addr{Host: "target.test", Port: 443}

func TestDescriptorIsThePeers(t *testing.T) {
	t.Parallel()
	if d := Descriptor(); d.Label != "Socks5" || !d.Has(framework.CapPacket) || d.Has(framework.CapDirect) {
		t.Errorf("got %+v", d)
	}
}

func TestPlainStreamIsRaw(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, server{reply: granted, then: outboundtest.Echo}.handle)

	c, err := build(t, at, "").DialStream(outboundtest.Context(t), site)

	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("got a %T, want a *net.TCPConn", c)
	}
	outboundtest.Talk(t, c)
}

func TestFirstBytesOfTheTunnelAreKept(t *testing.T) {
	t.Parallel()
	named := append([]byte{5, 0, 0, 3, 4}, "host\x00\x50"...)
	six := append([]byte{5, 0, 0, 4}, make([]byte, 18)...)
	for _, reply := range [][]byte{granted, named, six} {
		at := outboundtest.Serve(t, server{reply: append(bytes.Clone(reply), "hello"...), then: outboundtest.Echo}.handle)

		c, err := build(t, at, "").DialStream(outboundtest.Context(t), site)

		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b := make([]byte, 16)
		if n, err := c.Read(b); err != nil || string(b[:n]) != "hello" {
			t.Errorf("got %q, %v, want hello", b[:n], err)
		}
	}
}

func TestDestinationIsSentAsGiven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to   framework.Addr
		want []byte
	}{
		{site, append([]byte{5, 1, 0, 3, 11}, "target.test\x01\xbb"...)},
		{framework.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 80}, []byte{5, 1, 0, 1, 192, 0, 2, 1, 0, 80}},
		{framework.Addr{IP: netip.MustParseAddr("::1"), Port: 80}, append(append([]byte{5, 1, 0, 4}, make([]byte, 15)...), 1, 0, 80)},
	} {
		asked := make(chan []byte, 1)
		at := outboundtest.Serve(t, server{reply: granted, asked: asked}.handle)

		conn, err := build(t, at, "").DialStream(outboundtest.Context(t), c.to)

		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got := <-asked; !bytes.Equal(got, c.want) {
			t.Errorf("%v: got % x, want % x", c.to, got, c.want)
		}
	}
}

func TestServerIsFoundByName(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, server{reply: granted, then: outboundtest.Echo}.handle)
	at.Host, at.IP = "socks.test", netip.Addr{}

	c, err := build(t, at, "").DialStream(outboundtest.Context(t), site)

	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestPasswordIsChecked(t *testing.T) {
	t.Parallel()
	guarded := server{user: "alice", password: "secret", reply: granted, then: outboundtest.Echo}
	for _, c := range []struct {
		story, keys string
		server      server
		ok          bool
	}{
		{"right", ", username: alice, password: secret", guarded, true},
		{"numeric", ", username: alice, password: 123456", server{user: "alice", password: "123456", reply: granted}, true},
		{"wrong", ", username: alice, password: guess", guarded, false},
		{"none given", "", guarded, false},
		{"none asked", ", username: alice, password: secret", server{reply: granted}, false},
	} {
		t.Run(c.story, func(t *testing.T) {
			t.Parallel()
			at := outboundtest.Serve(t, c.server.handle)

			conn, err := build(t, at, c.keys).DialStream(outboundtest.Context(t), site)

			if c.ok {
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				return
			}
			outboundtest.Is(t, err, framework.ErrAuth)
			if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), at.String())) {
				t.Errorf("got %q, want one with the server and without the password", err)
			}
		})
	}
}

func TestRefusalKeepsItsReason(t *testing.T) {
	t.Parallel()
	for code, class := range map[byte]error{
		1: framework.ErrRefused, 2: framework.ErrRefused, 3: framework.ErrUnreachable, 4: framework.ErrUnreachable,
		5: framework.ErrRefused, 6: framework.ErrTimeout, 7: framework.ErrUnsupported, 8: framework.ErrUnsupported,
		99: framework.ErrRefused,
	} {
		at := outboundtest.Serve(t, server{reply: refusal(code)}.handle)
		o := build(t, at, ", udp: true")

		_, stream := o.DialStream(outboundtest.Context(t), site)
		_, packet := o.DialPacket(outboundtest.Context(t), site)

		outboundtest.Is(t, stream, class)
		outboundtest.Is(t, packet, class)
	}
}

func TestServerThatIsNotThereRefuses(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
	l.Close()

	_, err = build(t, at, "").DialStream(outboundtest.Context(t), site)

	outboundtest.Is(t, err, framework.ErrRefused)
}

func TestStreamInTLS(t *testing.T) {
	t.Parallel()
	leaf := outboundtest.NewCertificate(t, "socks.test", nil)
	at := outboundtest.ServeTLS(t, leaf.Server(), server{user: "a", password: "b", reply: granted, then: outboundtest.Echo}.handle)
	auth := ", tls: true, username: a, password: b"

	for _, keys := range []string{", fingerprint: " + leaf.Fingerprint(), ", skip-cert-verify: true"} {
		c, err := build(t, at, auth+keys).DialStream(outboundtest.Context(t), site)
		if err != nil {
			t.Fatal(err)
		}
		outboundtest.Talk(t, c)
		c.Close()
	}

	_, err := build(t, at, auth).DialStream(outboundtest.Context(t), site)
	outboundtest.Is(t, err, framework.ErrProtocol)
}

func TestHostileServerEndsTheDial(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"", ", username: a, password: b", ", tls: true"} {
		t.Run("with"+keys, func(t *testing.T) {
			t.Parallel()
			outboundtest.EndsHostile(t, func(ctx context.Context, at framework.Addr) error {
				return dialBoth(ctx, build(t, at, keys+", udp: true"))
			})
		})
	}
}

func TestSlowServerEndsTheDial(t *testing.T) {
	t.Parallel()
	answer := append([]byte{5, 0, 5, 0, 0, 3, 255}, make([]byte, 257)...)
	at := outboundtest.Serve(t, func(c net.Conn) { outboundtest.Drip(c, answer) })

	outboundtest.Ends(t, func(ctx context.Context) error { return dialBoth(ctx, build(t, at, ", udp: true")) })
}

// dialBoth wants a stream and packets refused, and gives the last error.
func dialBoth(ctx context.Context, o framework.Outbound) error {
	if c, err := o.DialStream(ctx, site); err == nil {
		c.Close()
		return nil
	}
	c, err := o.DialPacket(ctx, site)
	if err == nil {
		c.Close()
	}
	return err
}

func TestAnswerThatIsCutIsAProtocolError(t *testing.T) {
	t.Parallel()
	for _, reply := range [][]byte{{}, {5}, {5, 0}, {5, 0, 0, 1, 0}, {4, 0, 0, 1, 0, 0, 0, 0, 0, 0}, {5, 0, 0, 9, 0, 0, 0}} {
		at := outboundtest.Serve(t, server{reply: reply}.handle)

		_, err := build(t, at, "").DialStream(outboundtest.Context(t), site)

		outboundtest.Is(t, err, framework.ErrProtocol)
	}
}

func TestMistakesNameTheirKey(t *testing.T) {
	t.Parallel()
	at := framework.Addr{Host: "socks.test", Port: 1080}
	for keys, want := range map[string]string{
		", fingerprint: abc":                                   "fingerprint",
		", username: " + strings.Repeat("a", 256):              "username",
		", username: a, password: " + strings.Repeat("a", 256): "password",
		", certificate: a.pem":                                 "private-key",
		", tls: true, certificate: a.pem, private-key: a.pem":  "certificate",
		", sever: b": "sever",
	} {
		if _, err := outboundtest.Try(Descriptor(), host(), config(at, keys)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want one about %s", keys, err, want)
		}
	}
	for _, yaml := range []string{"{server: a}", "{port: 1}", "{server: a, port: 0}", "{server: a, port: 65536}", "{server: 'a b', port: 1}"} {
		if _, err := outboundtest.Try(Descriptor(), host(), yaml); err == nil {
			t.Errorf("%s: got no error", yaml)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	c := Config{Password: "hunter2", PrivateKey: "hunter2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, c); strings.Contains(got, "hunter2") {
			t.Errorf("%s prints %s", format, got)
		}
	}
}

// script is a server that has said all it says; what is written is lost.
type script struct{ *bytes.Reader }

func (script) Write(b []byte) (int, error) { return len(b), nil }

func FuzzConnect(f *testing.F) {
	f.Add(append([]byte{5, 0}, granted...), "")
	f.Add(append([]byte{5, 2, 1, 0}, granted...), "user")
	f.Add([]byte{5, 0, 5, 0, 0, 3, 0, 0, 0}, "")
	f.Add([]byte{5, 0, 5, 1}, "")
	f.Fuzz(func(t *testing.T, answer []byte, user string) {
		r := script{bytes.NewReader(answer)}
		err := socks.Connect(r, site, user, "password")
		if err == nil && len(answer)-r.Len() < 2+7 {
			t.Fatalf("% x: success without an answer", answer)
		}
		if err != nil && framework.Classify(err) == nil {
			t.Fatalf("% x: %v has no class", answer, err)
		}
		if _, err := socks.Associate(script{bytes.NewReader(answer)}, user, ""); err != nil && errors.Is(err, framework.ErrRejected) {
			t.Fatalf("% x: a server cannot reject by policy of ours", answer)
		}
	})
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	outboundtest.Sample(t, Descriptor())
}

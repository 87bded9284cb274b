package http

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var site = framework.Addr{Host: "target.test", Port: 443}

// proxy answers a request with text and then echoes. It reads requests with
// the standard library, so a malformed one gets no answer.
func proxy(answer string, asked chan<- *http.Request) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if asked != nil {
			asked <- req
		}
		io.WriteString(c, answer)
		io.Copy(c, r)
	}
}

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

func build(t testing.TB, at framework.Addr, more string) framework.Outbound {
	t.Helper()
	o, err := try(at, more)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func try(at framework.Addr, more string) (framework.Outbound, error) {
	h := outboundtest.Host{Via: dialer.New(outboundtest.Names{}, dialer.Options{}, nil)}
	return outboundtest.Try(Descriptor(), h, fmt.Sprintf("{name: a, type: http, udp: true, server: %s, port: %d%s}", at.Name(), at.Port, more))
}

func TestDescriptorIsThePeers(t *testing.T) {
	t.Parallel()
	if d := Descriptor(); d.Label != "Http" || d.Has(framework.CapPacket) || d.Has(framework.CapDirect) {
		t.Errorf("got %+v", d)
	}
}

func TestTunnelIsRaw(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, proxy(established, nil))

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
	long := strings.Repeat("0123456789", 1000)
	for _, hello := range []string{"x", "SSH-2.0-test\r\n\r\n", long} {
		at := outboundtest.Serve(t, proxy(established+hello, nil))

		c, err := build(t, at, "").DialStream(outboundtest.Context(t), site)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := make([]byte, len(hello))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != hello {
			t.Errorf("got %.20q, %v, want %.20q", got, err, hello)
		}
		outboundtest.Talk(t, c)
		c.(interface{ CloseWrite() error }).CloseWrite()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after half-close: got %d, %v", n, err)
		}
	}
}

func TestRequestSaysWhereTo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to   framework.Addr
		want string
	}{
		{site, "target.test:443"},
		{framework.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 80}, "192.0.2.1:80"},
		{framework.Addr{IP: netip.MustParseAddr("2001:db8::1"), Port: 80}, "[2001:db8::1]:80"},
		{framework.Addr{IP: netip.MustParseAddr("fe80::1%eth0"), Port: 80}, "[fe80::1]:80"},
	} {
		asked := make(chan *http.Request, 1)
		at := outboundtest.Serve(t, proxy(established, asked))

		conn, err := build(t, at, "").DialStream(outboundtest.Context(t), c.to)

		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if r := <-asked; r.Method != "CONNECT" || r.RequestURI != c.want || r.Host != c.want {
			t.Errorf("got %s %s, Host %s; want %s", r.Method, r.RequestURI, r.Host, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		story, keys string
		want        map[string]string
	}{
		{"usual", "", map[string]string{"User-Agent": "Go-http-client/1.1", "Proxy-Connection": "Keep-Alive", "Proxy-Authorization": ""}},
		{"own", ", headers: {user-agent: curl/8.0, X-Token: a b}", map[string]string{"User-Agent": "curl/8.0", "X-Token": "a b", "Proxy-Connection": "Keep-Alive"}},
		{"user and password", ", username: alice, password: secret", map[string]string{"Proxy-Authorization": "Basic YWxpY2U6c2VjcmV0"}},
		{"user alone", ", username: alice", map[string]string{"Proxy-Authorization": ""}},
		{"password alone", ", password: secret", map[string]string{"Proxy-Authorization": ""}},
	} {
		t.Run(c.story, func(t *testing.T) {
			t.Parallel()
			asked := make(chan *http.Request, 1)
			at := outboundtest.Serve(t, proxy(established, asked))

			conn, err := build(t, at, c.keys).DialStream(outboundtest.Context(t), site)

			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			r := <-asked
			for k, v := range c.want {
				if got := r.Header.Get(k); got != v {
					t.Errorf("%s: got %q, want %q", k, got, v)
				}
			}
		})
	}
}

func TestOwnHostTakesThePlaceOfTheDestinations(t *testing.T) {
	t.Parallel()
	r := newRequest(Config{Headers: map[string]framework.Secret{"host": "front.test"}})

	b, err := r.append(nil, site)

	want := "CONNECT target.test:443 HTTP/1.1\r\nHost: front.test\r\n" +
		"Proxy-Connection: Keep-Alive\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"
	if err != nil || string(b) != want {
		t.Errorf("got %q, %v, want %q", b, err, want)
	}
}

func TestNameThatBreaksTheRequestIsNotSent(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, proxy(established, nil))
	o := build(t, at, "")
	for _, name := range []string{"a\r\nX: y", "a b", "a\x00", "ä.test", "a/b", "a:b"} {
		_, err := o.DialStream(outboundtest.Context(t), framework.Addr{Host: name, Port: 1})

		outboundtest.Is(t, err, framework.ErrUnsupported)
	}
}

func TestAnswerDecides(t *testing.T) {
	t.Parallel()
	for answer, class := range map[string]error{
		"HTTP/1.1 200 OK\r\n\r\n": nil,
		"HTTP/1.0 200 OK\r\n\r\n": nil,
		"HTTP/1.1 200\r\n\r\n":    nil,
		"HTTP/1.1 204 No Content\r\nA: b\r\nContent-Length: 5\r\n\r\n":                  nil,
		"HTTP/1.1 200 OK\nA: b\n\n":                                                     nil,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n" + established: nil,
		"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n":                            framework.ErrAuth,
		"HTTP/1.1 401 Unauthorized\r\n\r\n":                                             framework.ErrAuth,
		"HTTP/1.1 403 Forbidden\r\n\r\n":                                                framework.ErrAuth,
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nno route!":                framework.ErrRefused,
		"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n":                                     framework.ErrRefused,
		"HTTP/1.1 101 Switching Protocols\r\n\r\n":                                      framework.ErrRefused,
		"HTTP/2 200 OK\r\n\r\n":                                                         framework.ErrProtocol,
		"HTTP/1.1 2000 OK\r\n\r\n":                                                      framework.ErrProtocol,
		"HTTP/1.1 020 OK\r\n\r\n":                                                       framework.ErrProtocol,
		"HTTP/1.1  200 OK\r\n\r\n":                                                      framework.ErrProtocol,
		"HTTP/1.\r\n\r\n":                                                               framework.ErrProtocol,
		"SSH-2.0-test\r\n\r\n":                                                          framework.ErrProtocol,
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 70) + "\r\n": framework.ErrProtocol,
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 4000):                                       framework.ErrProtocol,
	} {
		t.Run(fmt.Sprintf("%.40q", answer), func(t *testing.T) {
			t.Parallel()
			at := outboundtest.Serve(t, proxy(answer, nil))

			c, err := build(t, at, "").DialStream(outboundtest.Context(t), site)

			if err == nil {
				c.Close()
			}
			if class == nil && err != nil {
				t.Errorf("got %v", err)
			}
			if class != nil {
				outboundtest.Is(t, err, class)
			}
		})
	}
}

func TestRefusalIsQuotedSafely(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, proxy("HTTP/1.1 503 Too \x1b[31mbusy "+strings.Repeat("z", 500)+"\r\n\r\n", nil))

	_, err := build(t, at, "").DialStream(outboundtest.Context(t), site)

	want := "http proxy " + at.String() + ": the proxy answers 503 Too [31mbusy zzz"
	if err == nil || !strings.HasPrefix(err.Error(), want) || len(err.Error()) > 250 {
		t.Errorf("got %q, want it to start with %q", err, want)
	}
}

func TestTunnelInTLS(t *testing.T) {
	t.Parallel()
	leaf := outboundtest.NewCertificate(t, "proxy.test", nil)
	at := outboundtest.ServeTLS(t, leaf.Server(), proxy(established, nil))

	for _, keys := range []string{", fingerprint: " + leaf.Fingerprint(), ", skip-cert-verify: true, sni: other.test"} {
		c, err := build(t, at, ", tls: true"+keys).DialStream(outboundtest.Context(t), site)
		if err != nil {
			t.Fatal(err)
		}
		outboundtest.Talk(t, c)
		c.Close()
	}

	_, err := build(t, at, ", tls: true").DialStream(outboundtest.Context(t), site)
	outboundtest.Is(t, err, framework.ErrProtocol)
}

func TestHostileProxyEndsTheDial(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"", ", tls: true"} {
		t.Run("with"+keys, func(t *testing.T) {
			t.Parallel()
			outboundtest.EndsHostile(t, func(ctx context.Context, at framework.Addr) error {
				c, err := build(t, at, keys).DialStream(ctx, site)
				if err == nil {
					c.Close()
				}
				return err
			})
		})
	}
}

func TestSlowProxyEndsTheDial(t *testing.T) {
	t.Parallel()
	at := outboundtest.Serve(t, func(c net.Conn) { outboundtest.Drip(c, []byte(established)) })

	outboundtest.Ends(t, func(ctx context.Context) error {
		_, err := build(t, at, "").DialStream(ctx, site)
		return err
	})
}

func TestPacketsAreUnsupported(t *testing.T) {
	t.Parallel()
	_, err := build(t, site, "").DialPacket(outboundtest.Context(t), site)

	outboundtest.Is(t, err, framework.ErrUnsupported)
}

func TestMistakesNameTheirKey(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]string{
		", headers: {'a b': c}":           "headers",
		", headers: {A: \"b\\r\\nC: d\"}": "headers.A",
		", fingerprint: abc":              "fingerprint",
		", private-key: a.pem":            "certificate",
		", headers: [a]":                  "headers",
	} {
		if _, err := try(site, keys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want one about %s", keys, err, want)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	c := Config{Password: "hunter2", PrivateKey: "hunter2", Headers: map[string]framework.Secret{"A": "hunter2"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, c); strings.Contains(got, "hunter2") {
			t.Errorf("%s prints %s", format, got)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{
		established, established + "hello", "HTTP/1.1 100 Continue\r\n\r\n" + established,
		"HTTP/1.1 407 No\r\nA: b\r\n\r\n", "HTTP/1.1 200\n\n", "HTTP/1.", "\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		rest, err := readAnswer(bytes.NewReader(data), nil)
		again, slow := readAnswer(&slowly{data, int(step)%16 + 1}, make([]byte, 0, 8))
		if (err == nil) != (slow == nil) {
			t.Fatalf("at once: %v; in steps: %v", err, slow)
		}
		if err != nil {
			if framework.Classify(err) == nil {
				t.Fatalf("%v has no class", err)
			}
			return
		}
		if !bytes.HasSuffix(data, rest) || !bytes.HasPrefix(rest, again) {
			t.Fatalf("rest is %q at once and %q in steps", rest, again)
		}
	})
}

// slowly reads n bytes at a time.
type slowly struct {
	data []byte
	n    int
}

func (s *slowly) Read(b []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.data[:min(s.n, len(s.data))])
	s.data = s.data[n:]
	return n, nil
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	outboundtest.Sample(t, Descriptor())
}

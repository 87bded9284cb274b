package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t testing.TB, server framework.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSuccessLeavesNoDeadline(t *testing.T) {
	t.Parallel()
	c := dial(t, outboundtest.Serve(t, outboundtest.Echo))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)

	err := Do(ctx, c, func() error {
		_, err := c.Write([]byte("x"))
		return err
	})
	cancel()

	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("read after the handshake: %v", err)
	}
}

func TestSilenceEndsWithTheContext(t *testing.T) {
	t.Parallel()
	server := outboundtest.Serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })

	outboundtest.Ends(t, func(ctx context.Context) error {
		c := dial(t, server)
		return Do(ctx, c, func() error {
			_, err := c.Read(make([]byte, 1))
			return err
		})
	})
}

func TestErrorGetsAClass(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]error{
		errors.New("nonsense"):   framework.ErrProtocol,
		io.EOF:                   framework.ErrProtocol,
		context.Canceled:         framework.ErrTimeout,
		os.ErrDeadlineExceeded:   framework.ErrTimeout,
		framework.ErrAuth:        framework.ErrAuth,
		framework.ErrRefused:     framework.ErrRefused,
		io.ErrUnexpectedEOF:      framework.ErrProtocol,
		framework.ErrUnsupported: framework.ErrUnsupported,
	} {
		outboundtest.Is(t, Classed(err), want)
	}
	if Classed(nil) != nil {
		t.Error("nil has a class")
	}
}

// client runs one TLS handshake and an exchange with a server.
func client(t *testing.T, o TLSOptions, server *tls.Config) error {
	t.Helper()
	at := outboundtest.ServeTLS(t, server, outboundtest.Echo)
	c, err := NewTLS(o)
	if err != nil {
		return err
	}
	conn, err := c.Client(outboundtest.Context(t), dial(t, at))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // where TLS 1.3 tells that it wants a certificate
	return err
}

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	ca := outboundtest.NewCertificate(t, "ca.test", nil)
	leaf := outboundtest.NewCertificate(t, "server.test", ca)
	stranger := outboundtest.NewCertificate(t, "server.test", nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	colons := strings.ToUpper(leaf.Fingerprint()[:2]) + ":" + leaf.Fingerprint()[2:]
	for _, c := range []struct {
		story  string
		o      TLSOptions
		server *tls.Config
		ok     bool
	}{
		{"known authority", TLSOptions{ServerName: "server.test", Roots: roots}, leaf.Server(), true},
		{"other name", TLSOptions{ServerName: "other.test", Roots: roots}, leaf.Server(), false},
		{"unknown authority", TLSOptions{ServerName: "server.test"}, leaf.Server(), false},
		{"no check", TLSOptions{ServerName: "other.test", SkipCertVerify: true}, stranger.Server(), true},
		{"pinned leaf", TLSOptions{ServerName: "other.test", Fingerprint: leaf.Fingerprint()}, leaf.Server(), true},
		{"pinned with colons", TLSOptions{ServerName: "other.test", Fingerprint: colons}, leaf.Server(), true},
		{"pinned other", TLSOptions{ServerName: "server.test", Fingerprint: ca.Fingerprint(), Roots: roots}, leaf.Server(), false},
		{"pinned other without check", TLSOptions{SkipCertVerify: true, Fingerprint: ca.Fingerprint()}, leaf.Server(), false},
		{"pinned authority", TLSOptions{ServerName: "server.test", Fingerprint: ca.Fingerprint()}, leaf.Server(ca), true},
		{"pinned authority, other name", TLSOptions{ServerName: "other.test", Fingerprint: ca.Fingerprint()}, leaf.Server(ca), false},
		{"pinned authority sent by a stranger", TLSOptions{ServerName: "server.test", Fingerprint: ca.Fingerprint()}, stranger.Server(ca), false},
		{"pinned leaf sent by a stranger", TLSOptions{ServerName: "server.test", Fingerprint: leaf.Fingerprint()}, stranger.Server(leaf), false},
		{"pinned authority, name not checked", TLSOptions{ServerName: "other.test", SkipCertVerify: true, Fingerprint: ca.Fingerprint()}, leaf.Server(ca), true},
	} {
		t.Run(c.story, func(t *testing.T) {
			t.Parallel()

			err := client(t, c.o, c.server)

			if (err == nil) != c.ok {
				t.Errorf("got %v, want success: %v", err, c.ok)
			}
			if err != nil && !errors.Is(err, framework.ErrProtocol) {
				t.Errorf("got %v, want class protocol", err)
			}
		})
	}
}

func TestClientCertificateIsShown(t *testing.T) {
	t.Parallel()
	leaf := outboundtest.NewCertificate(t, "server.test", nil)
	mine := outboundtest.NewCertificate(t, "client.test", nil)
	server := leaf.Server()
	server.ClientAuth = tls.RequireAnyClientCert
	text, key := mine.PEM(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"cert.pem": text, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pinned := TLSOptions{Fingerprint: leaf.Fingerprint()}

	inline, files := pinned, pinned
	inline.Certificate, inline.PrivateKey = text, key
	files.Certificate, files.PrivateKey, files.Dir = "cert.pem", filepath.Join(dir, "key.pem"), dir

	if err := client(t, inline, server); err != nil {
		t.Errorf("as text: %v", err)
	}
	if err := client(t, files, server); err != nil {
		t.Errorf("as files: %v", err)
	}
	if err := client(t, pinned, server); err == nil {
		t.Error("without one: got in")
	}
}

func TestProtocolIsOffered(t *testing.T) {
	t.Parallel()
	leaf := outboundtest.NewCertificate(t, "server.test", nil)
	config := leaf.Server()
	config.NextProtos = []string{"h2", "http/1.1"}
	at := outboundtest.ServeTLS(t, config, outboundtest.Echo)
	c, err := NewTLS(TLSOptions{ServerName: "server.test", Fingerprint: leaf.Fingerprint(), ALPN: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}

	conn, err := c.Client(outboundtest.Context(t), dial(t, at))

	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s := conn.ConnectionState(); s.NegotiatedProtocol != "http/1.1" || s.ServerName != "server.test" {
		t.Errorf("got protocol %q, name %q", s.NegotiatedProtocol, s.ServerName)
	}
}

func TestHostileServerEndsTLS(t *testing.T) {
	t.Parallel()
	c, err := NewTLS(TLSOptions{ServerName: "server.test"})
	if err != nil {
		t.Fatal(err)
	}
	outboundtest.EndsHostile(t, func(ctx context.Context, server framework.Addr) error {
		raw := dial(t, server)
		_, err := c.Client(ctx, raw)
		if _, late := raw.Write([]byte("x")); !errors.Is(late, net.ErrClosed) {
			t.Errorf("the connection is open after a failed handshake")
		}
		return err
	})
}

func TestMistakesNameTheirKey(t *testing.T) {
	t.Parallel()
	text, key := outboundtest.NewCertificate(t, "a.test", nil).PEM(t)
	_, otherKey := outboundtest.NewCertificate(t, "b.test", nil).PEM(t)
	for path, o := range map[string]TLSOptions{
		"fingerprint":                    {Fingerprint: "abcd"},
		"fingerprint: is not":            {Fingerprint: strings.Repeat("zz", 32)},
		"certificate: is missing":        {PrivateKey: key},
		"private-key: is missing":        {Certificate: text},
		"certificate: private key does":  {Certificate: text, PrivateKey: otherKey},
		"certificate: failed to find an": {Certificate: "-----BEGIN nothing", PrivateKey: key},
	} {
		err := o.Check()
		var fe *framework.FieldError
		if !errors.As(err, &fe) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("got %v, want one that starts with %q", err, path)
		}
	}
	if err := (TLSOptions{Certificate: text, PrivateKey: key}).Check(); err != nil {
		t.Error(err)
	}
	if _, err := NewTLS(TLSOptions{Certificate: "nosuch.pem", PrivateKey: "nosuch.pem", Dir: t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		var fe *framework.FieldError
		if !errors.As(err, &fe) || fe.Path != "certificate" {
			t.Errorf("got %v, want one about the certificate", err)
		}
	}
}

func FuzzPin(f *testing.F) {
	f.Add(strings.Repeat("ab:", 31) + "cd")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePin(s)
		if err == nil && s != "" && len(p) != 32 {
			t.Fatalf("%q: %d bytes", s, len(p))
		}
	})
}

package accept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPortsAndRangesAreReadInOrder(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]uint16{
		"": {0}, "*": {0}, "0": {0}, " [ ] ": {0}, "80": {80}, "80,443": {80, 443}, "82-80/81,80": {80, 81, 82}, "[ 1 - 2 , 9 ]": {1, 2, 9}, "65535": {65535}, "65534-65535": {65534, 65535},
	} {
		if got, err := Ports(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"http", "-1", "1-", "-", ",", "65536", "+80", "80.0", "1-2-3", strings.Repeat("1,", maxPieces+1)} {
		if got, err := Ports(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func FuzzPorts(f *testing.F) {
	f.Add("8000-8010,9000/1")
	f.Fuzz(func(t *testing.T, text string) {
		if ports, err := Ports(text); err == nil && len(ports) == 0 {
			t.Fatalf("%q gave no port", text)
		}
	})
}

func TestValidateReportsEveryMistake(t *testing.T) {
	t.Parallel()
	if err := Default().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := Options{Listen: "localhost", Port: "http", ClientAuthType: "maybe"}.Validate()
	for _, path := range []string{"listen: ", "port: ", "client-auth-type: "} {
		var field *framework.FieldError
		if err == nil || !strings.Contains(err.Error(), path) || !errors.As(err, &field) {
			t.Errorf("got %v, want %s in it", err, path)
		}
	}
}

func TestOwnUsersReplaceTheHosts(t *testing.T) {
	t.Parallel()
	host := inboundtest.NewHost()
	host.Access = inboundtest.Access{Deny: true}
	o := Default()
	o.Users = &[]User{{"a", "1"}, {"b", ""}}

	a := New(host, o).Admission()

	if ip := netip.IPv6Loopback(); !a.Allowed(ip) || !a.Required(ip) {
		t.Error("own users do not ask, or filter")
	}
	for pair, want := range map[[2]string]bool{{"a", "1"}: true, {"b", ""}: true, {"a", ""}: false, {"", ""}: false, {"b", "1"}: false, {"a1", ""}: false} {
		if got := a.Check(pair[0], pair[1]); got != want {
			t.Errorf("%v: got %v, want %v", pair, got, want)
		}
	}
	o.Users = &[]User{}
	if New(host, o).Admission().Required(netip.IPv6Loopback()) {
		t.Error("an empty list asks for users")
	}
}

// start serves p on a free port of loopback.
func start(t *testing.T, o Options, change func(*Server), p Protocol) (*Server, string) {
	t.Helper()
	o.Listen = "127.0.0.1"
	host := inboundtest.NewHost()
	host.Home = t.TempDir()
	s := New(host, o)
	if change != nil {
		change(s)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Start(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	return s, s.Addrs()[0].String()
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

// ends fails unless the other side of c closes it.
func ends(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection is still open: %v", err)
	}
}

// upToLine is a protocol that reads a line and then does what it says.
func upToLine(_ context.Context, c *Conn) {
	raw := c.Raw()
	defer raw.Close()
	line := make([]byte, 5)
	if _, err := io.ReadFull(raw, line); err != nil {
		return
	}
	switch string(line) {
	case "busy\n":
		if !c.Busy() {
			return
		}
	case "hold\n":
		if !c.Hold() {
			return
		}
	}
	io.Copy(raw, io.MultiReader(strings.NewReader("ok"), raw))
}

func in(t *testing.T, c net.Conn, line string) net.Conn {
	t.Helper()
	io.WriteString(c, line)
	b := make([]byte, 2)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ok" {
		t.Fatalf("%q: got %q, %v", line, b, err)
	}
	return c
}

func TestCloseCutsWhatWaitsOrIsHeldAndLeavesWhatIsBusy(t *testing.T) {
	t.Parallel()
	s, address := start(t, Default(), nil, Protocol{Stream: upToLine})
	half, held, busy := dial(t, address), in(t, dial(t, address), "hold\n"), in(t, dial(t, address), "busy\n")
	io.WriteString(half, "bu")

	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	ends(t, half)
	ends(t, held)
	io.WriteString(busy, "more")
	b := make([]byte, 4)
	if _, err := io.ReadFull(busy, b); err != nil || string(b) != "more" {
		t.Errorf("got %q, %v, want more", b, err)
	}
	busy.Close()
}

func TestHandshakeHasOneDeadlineForAll(t *testing.T) {
	t.Parallel()
	_, address := start(t, Default(), func(s *Server) { s.handshake = 50 * time.Millisecond }, Protocol{Stream: upToLine})
	busy, slow := in(t, dial(t, address), "busy\n"), dial(t, address)
	io.WriteString(slow, "b")
	ends(t, slow)
	io.WriteString(busy, "more")
	if _, err := io.ReadFull(busy, make([]byte, 4)); err != nil {
		t.Errorf("busy connection ended: %v", err)
	}
}

func TestClockIsWoundForThoseWhoComeLater(t *testing.T) {
	t.Parallel()
	_, address := start(t, Default(), func(s *Server) { s.handshake = 50 * time.Millisecond }, Protocol{Stream: upToLine})

	for range 3 {
		ends(t, dial(t, address))
	}
}

func TestGoroutinesThatServedWaitForTheNextAndEndWithClose(t *testing.T) {
	t.Parallel()
	s, address := start(t, Default(), nil, Protocol{Stream: func(_ context.Context, c *Conn) { c.Raw().Close() }})

	for range 2 * maxIdle {
		ends(t, dial(t, address))
	}
	if n := s.idle.Load(); n > maxIdle+1 {
		t.Errorf("%d goroutines wait, want at most %d", n, maxIdle)
	}
	s.Close() // and TestMain looks for what is left
}

func TestOldestHandshakeMakesRoom(t *testing.T) {
	t.Parallel()
	_, address := start(t, Default(), func(s *Server) { s.limit = 2 }, Protocol{Stream: upToLine})
	busy := in(t, dial(t, address), "busy\n")
	first, second, third := dial(t, address), dial(t, address), dial(t, address)
	ends(t, first)
	in(t, second, "hold\n")
	in(t, third, "busy\n")
	io.WriteString(busy, "x")
	if _, err := io.ReadFull(busy, make([]byte, 1)); err != nil {
		t.Errorf("busy connection ended: %v", err)
	}
}

func TestClientCertificateIsAskedFor(t *testing.T) {
	t.Parallel()
	certificate, key := inboundtest.Certificate(t)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	o := Default()
	o.Certificate, o.PrivateKey, o.ClientAuthCert = string(certificate), framework.Secret(key), string(certificate)
	_, address := start(t, o, nil, Protocol{Stream: upToLine})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	for name, c := range map[string]*tls.Config{
		"with":    {RootCAs: roots, Certificates: []tls.Certificate{pair}},
		"without": {RootCAs: roots},
	} {
		conn := tls.Client(dial(t, address), c)
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		c.ServerName = "127.0.0.1"
		io.WriteString(conn, "busy\n")
		b := make([]byte, 2)
		if _, err := io.ReadFull(conn, b); (err == nil) != (name == "with") {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
}

func TestBadCertificateFailsStart(t *testing.T) {
	t.Parallel()
	certificate, key := inboundtest.Certificate(t)
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "text"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no key":      func(o *Options) { o.PrivateKey = "" },
		"no file":     func(o *Options) { o.Certificate = "missing.pem" },
		"no pem":      func(o *Options) { o.Certificate = "text" },
		"no pair":     func(o *Options) { o.PrivateKey = framework.Secret(certificate) },
		"no ca":       func(o *Options) { o.ClientAuthCert = "missing.pem" },
		"ca is no ca": func(o *Options) { o.ClientAuthCert = "text" },
	} {
		host := inboundtest.NewHost()
		host.Home = home
		o := Default()
		o.Listen, o.Certificate, o.PrivateKey = "127.0.0.1", string(certificate), framework.Secret(key)
		change(&o)
		s := New(host, o)
		if err := s.Start(context.Background(), Protocol{Stream: upToLine}); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: got %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

// flaky is a Host whose listener fails a few times before it accepts.
type flaky struct {
	*inboundtest.Host
	net.Listener
	failures int
}

func (f *flaky) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := f.Host.Listen(ctx, address)
	f.Listener = l
	return f, err
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures--; f.failures >= 0 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	host := &flaky{Host: inboundtest.NewHost(), failures: 3}
	o := Default()
	o.Listen = "127.0.0.1"
	s := New(host, o)
	defer s.Close()
	if err := s.Start(context.Background(), Protocol{Stream: upToLine}); err != nil {
		t.Fatal(err)
	}
	in(t, dial(t, s.Addrs()[0].String()), "busy\n").Close()
}

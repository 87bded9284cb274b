package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// curl's exit codes that these tests expect.
const (
	curlNoConnect = 7  // also: the proxy sent nothing
	curlBadTLS    = 60 // the certificate is not trusted
	curlReceive   = 56 // CONNECT was refused, or the answer broke off
	curlProxy     = 97 // SOCKS handshake failed
)

// The users of the tests: alice is known to all, bob to one listener.
const alice, bob = "alice:wonder:land", "bob:builder"

// userCase is one client at one inbound.
type userCase struct {
	name, scheme string
	port         int
	user         string
	args         []string
	code         int
	status       string // of the proxy's answer to CONNECT, or of the answer
}

// userCases come to a kernel whose listeners have own users, an empty list of
// them, and the global ones.
func userCases(k open, own, nobody, global int) []userCase {
	return []userCase{
		{"connect", "http", k.http, alice, []string{"-p"}, 0, "200"},
		{"connect without", "http", k.http, "", []string{"-p"}, curlReceive, "407"},
		{"connect with a wrong password", "http", k.mixed, "alice:x", []string{"-p"}, curlReceive, "403"},
		{"forward", "http", k.mixed, alice, nil, 0, "200"},
		{"forward without", "http", k.mixed, "", nil, 0, "407"},
		{"forward with a wrong password", "http", k.http, "alice:wonder", nil, 0, "403"},
		{"forward with another's", "http", k.http, bob, nil, 0, "403"},
		{"socks5", "socks5h", k.socks, alice, nil, 0, "200"},
		{"socks5 with an empty password", "socks5h", k.socks, "e:", nil, 0, "200"},
		{"socks5 without", "socks5h", k.socks, "", nil, curlProxy, "000"},
		{"socks5 with a wrong password", "socks5h", k.mixed, "alice:x", nil, curlProxy, "000"},
		{"socks4a by a user without password", "socks4a", k.socks, "e:", nil, 0, "200"},
		{"socks4a by a user with password", "socks4a", k.socks, "alice:", nil, curlProxy, "000"},
		{"socks4 without", "socks4", k.mixed, "", nil, curlProxy, "000"},
		{"skipped source by connect", "http", k.http, "", []string{"-p", "--interface", "127.0.0.9"}, 0, "200"},
		{"skipped source by socks5", "socks5h", k.mixed, "", []string{"--interface", "127.0.0.9"}, 0, "200"},
		{"skipped source by socks4", "socks4", k.mixed, "", []string{"--interface", "127.0.0.9"}, 0, "200"},
		{"own users", "socks5h", own, bob, nil, 0, "200"},
		{"own users by http", "http", own, bob, nil, 0, "200"},
		{"own users refuse global ones", "socks5h", own, alice, nil, curlProxy, "000"},
		{"own users know no skipped source", "http", own, "", []string{"--interface", "127.0.0.9"}, 0, "407"},
		{"empty users let all in", "socks5h", nobody, "", nil, 0, "200"},
		{"empty users let all in by http", "http", nobody, "", nil, 0, "200"},
		{"a listener has global users", "http", global, "", nil, 0, "407"},
		{"a listener lets global users in", "socks5h", global, alice, nil, 0, "200"},
		{"a listener skips sources", "http", global, "", []string{"--interface", "127.0.0.9"}, 0, "200"},
	}
}

func TestUsersComeInWithTheirPassword(t *testing.T) {
	t.Parallel()
	own, nobody, global := harness.Port(t), harness.Port(t), harness.Port(t)
	k := startOpen(t, fmt.Sprintf(`
authentication: ["alice:wonder:land", "e:"]
skip-auth-prefixes: [127.0.0.9/32]
listeners:
  - {name: own, type: mixed, listen: 127.0.0.1, port: %d, users: [{username: bob, password: builder}]}
  - {name: nobody, type: mixed, listen: 127.0.0.1, port: %d, users: []}
  - {name: global, type: mixed, listen: 127.0.0.1, port: %d}
`, own, nobody, global))
	o := newOrigin(t, "127.0.0.1")

	for _, c := range userCases(k, own, nobody, global) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-x", at(c.scheme, c.port), "-o", os.DevNull, "-w", "%{http_connect} %{http_code}", o.url("127.0.0.1", "/echo")}
			if c.user != "" {
				args = append(args, "--proxy-user", c.user)
			}

			r := curl(t, append(args, c.args...)...)

			if r.code != c.code || !strings.Contains(r.out, c.status) {
				t.Errorf("got exit %d, statuses %q, %s; want exit %d and %s", r.code, r.out, r.err, c.code, c.status)
			}
		})
	}
	t.Run("the challenge names Basic", func(t *testing.T) {
		t.Parallel()
		if r := curl(t, "-i", "-x", at("http", k.http), o.url("127.0.0.1", "/echo")); !strings.Contains(r.out, "Proxy-Authenticate: Basic") {
			t.Errorf("got %q", r.out)
		}
	})
	t.Run("flows name their user", func(t *testing.T) {
		t.Parallel()
		held := newOrigin(t, "127.0.0.1")
		_, f := holding(t, k.Culvert, held, "origin.test", "-x", at("socks5h", k.mixed), "--proxy-user", alice)
		if f.Metadata.InboundUser != "alice" {
			t.Errorf("got user %q, want alice", f.Metadata.InboundUser)
		}
	})
	t.Run("settings show names only", func(t *testing.T) {
		t.Parallel()
		_, body := k.Call(t, "GET", "/configs", nil)
		if s := string(body); !strings.Contains(s, `"authentication":["alice","e"]`) || strings.Contains(s, "wonder") {
			t.Errorf("got %s", s)
		}
	})
}

func TestFilteredSourcesGetNoAnswer(t *testing.T) {
	t.Parallel()
	free := harness.Port(t)
	k := startOpen(t, fmt.Sprintf(`
lan-disallowed-ips: [127.0.0.8/32]
listeners: [{name: free, type: mixed, listen: 127.0.0.1, port: %d, users: []}]
`, free))
	o := newOrigin(t, "127.0.0.1")

	for _, port := range []int{k.http, k.socks, k.mixed} {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 8)}}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // closed before the system told us that it was open
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte{5, 1, 0})
		if n, err := c.Read(make([]byte, 16)); n > 0 || isTimeout(err) {
			t.Errorf("port %d: got %d bytes and %v, want a close", port, n, err)
		}
		c.Close()
	}
	fetch(t, o.url("127.0.0.1", "/echo"), "-x", at("socks5", k.mixed))
	fetch(t, o.url("127.0.0.1", "/echo"), "-x", at("socks5", free), "--interface", "127.0.0.8")
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestCurlSpeaksTLSWithTheProxy(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	port := harness.Port(t)
	indent := strings.NewReplacer("\n", "\n      ")
	startOpen(t, fmt.Sprintf(`
listeners:
  - name: secure
    type: http
    listen: 127.0.0.1
    port: %d
    users: [{username: bob, password: builder}]
    certificate: |
      %s
    private-key: |
      %s
`, port, indent.Replace(cert), indent.Replace(key)))
	o := newOrigin(t, "127.0.0.1")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	x := []string{"-x", at("https", port), "--proxy-user", "bob:builder"}

	for _, how := range [][]string{nil, {"-p"}} {
		if s := fetch(t, o.url("origin.test", "/echo"), append(append(x, "--proxy-cacert", ca), how...)...); s.Method != "GET" {
			t.Errorf("%q: origin saw %+v", how, s)
		}
	}
	if r := curl(t, append(x, o.url("origin.test", "/echo"))...); r.code != curlBadTLS {
		t.Errorf("got exit %d without the authority, want %d", r.code, curlBadTLS)
	}
	if r := curl(t, "-x", at("http", port), o.url("origin.test", "/echo")); r.code == 0 {
		t.Errorf("got an answer without TLS: %q", r.out)
	}
}

// certificate is a PEM certificate of 127.0.0.1 with its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "culvert test"}, DNSNames: []string{"proxy.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

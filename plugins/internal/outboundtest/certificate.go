package outboundtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Certificate is a certificate for a name, with its key.
type Certificate struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// NewCertificate makes a certificate for name that signer signed; nil is the
// certificate itself, which may then sign others.
func NewCertificate(t testing.TB, name string, signer *Certificate) *Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  signer == nil,
		BasicConstraintsValid: true,
	}
	by, byKey := template, key
	if signer != nil {
		by, byKey = signer.Certificate, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Certificate{parsed, key}
}

// Fingerprint is the SHA-256 of the certificate in hex.
func (c *Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// PEM is the certificate and its key as text.
func (c *Certificate) PEM(t testing.TB) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Server is the configuration of a server that shows c, and chain after it.
func (c *Certificate) Server(chain ...*Certificate) *tls.Config {
	pair := tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: c.key}
	for _, above := range chain {
		pair.Certificate = append(pair.Certificate, above.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// ServeTLS is Serve inside TLS.
func ServeTLS(t testing.TB, config *tls.Config, handle func(net.Conn)) framework.Addr {
	t.Helper()
	return Serve(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		if conn.Handshake() == nil {
			handle(conn)
		}
	})
}

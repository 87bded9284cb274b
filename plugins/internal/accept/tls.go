package accept

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// clientAuth are the spellings of client-auth-type, as in mihomo's
// component/ca/auth.go.
var clientAuth = map[string]tls.ClientAuthType{
	"":                   tls.NoClientCert,
	"request":            tls.RequestClientCert,
	"require-any":        tls.RequireAnyClientCert,
	"verify-if-given":    tls.VerifyClientCertIfGiven,
	"require-and-verify": tls.RequireAndVerifyClientCert,
}

// tlsConfig reads the files that o names below dir; nil means no TLS.
func tlsConfig(o Options, dir string) (*tls.Config, error) {
	if o.Certificate == "" && o.PrivateKey == "" {
		return nil, nil
	}
	certificate, err := pemOf(o.Certificate, dir)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, err := pemOf(string(o.PrivateKey), dir)
	if err != nil {
		return nil, fmt.Errorf("read private-key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("use certificate: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clientAuth[o.ClientAuthType]}
	if o.ClientAuthCert == "" {
		return c, nil
	}
	pool, err := pemOf(o.ClientAuthCert, dir)
	if err != nil {
		return nil, fmt.Errorf("read client-auth-cert: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pool) {
		return nil, errors.New("read client-auth-cert: no certificate in it")
	}
	if c.ClientAuth == tls.NoClientCert { // who names an authority wants it asked
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// pemOf is text itself when it is PEM, else the file of that name.
func pemOf(text, dir string) ([]byte, error) {
	if strings.Contains(text, "-----BEGIN") {
		return []byte(text), nil
	}
	if text == "" {
		return nil, errors.New("not given")
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(dir, text)
	}
	return os.ReadFile(text)
}

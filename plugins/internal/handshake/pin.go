package handshake

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

var (
	errPin    = errors.New("is not the sha-256 of a certificate: 64 hex digits, colons allowed")
	errPinned = errors.New("the server's certificates do not have the fingerprint that is pinned")
)

// pin is the SHA-256 of a certificate in DER.
type pin []byte

// parsePin reads hex with optional colons; "" is no pin, which is nil.
func parsePin(s string) (pin, error) {
	if s == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != sha256.Size {
		return nil, errPin
	}
	return b, nil
}

// verifier accepts a server whose own certificate is pinned, whatever else is
// wrong with it. When a certificate above is pinned, the chain must lead to it
// and, unless skipName, the name must fit: else anybody could send the pinned
// certificate along with his own.
func (p pin) verifier(name string, skipName bool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		certs := s.PeerCertificates
		at := slices.IndexFunc(certs, p.is)
		switch {
		case at < 0:
			return errPinned
		case at == 0:
			return nil
		}
		o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
		o.Roots.AddCert(certs[at])
		for i, c := range certs[1:] {
			if i+1 != at {
				o.Intermediates.AddCert(c)
			}
		}
		if !skipName {
			o.DNSName = name
		}
		_, err := certs[0].Verify(o)
		return err
	}
}

func (p pin) is(c *x509.Certificate) bool {
	sum := sha256.Sum256(c.Raw)
	return bytes.Equal(sum[:], p)
}

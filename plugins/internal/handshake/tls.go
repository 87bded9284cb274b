package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// TLSOptions are the TLS keys of an outbound, as the user's file has them
// (config-proxies.md §2.3).
type TLSOptions struct {
	ServerName     string         // sent, and checked against the certificate
	ALPN           []string       // protocols to offer; nil offers none
	SkipCertVerify bool           // check neither chain nor name
	Fingerprint    string         // SHA-256 of a certificate to insist on, hex; "" for none
	Certificate    string         // client certificate: PEM text or a path
	PrivateKey     string         // its key, likewise
	Dir            string         // where relative paths start
	Roots          *x509.CertPool // authorities to trust; nil for the system's
}

// Check says what is wrong with o, as FieldErrors; it reads no file.
func (o TLSOptions) Check() error {
	var errs []error
	if _, err := parsePin(o.Fingerprint); err != nil {
		errs = append(errs, &framework.FieldError{Path: "fingerprint", Msg: err.Error()})
	}
	switch {
	case o.Certificate == "" && o.PrivateKey != "":
		errs = append(errs, &framework.FieldError{Path: "certificate", Msg: "is missing beside private-key"})
	case o.Certificate != "" && o.PrivateKey == "":
		errs = append(errs, &framework.FieldError{Path: "private-key", Msg: "is missing beside certificate"})
	case isPEM(o.Certificate) && isPEM(o.PrivateKey):
		if _, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.PrivateKey)); err != nil {
			errs = append(errs, &framework.FieldError{Path: "certificate", Msg: keyPairProblem(err)})
		}
	}
	return errors.Join(errs...)
}

// TLS is the client side of TLS. It is safe for concurrent use.
type TLS struct{ config *tls.Config }

// NewTLS makes a TLS. It reads the files that o names.
func NewTLS(o TLSOptions) (*TLS, error) {
	p, err := parsePin(o.Fingerprint)
	if err != nil {
		return nil, &framework.FieldError{Path: "fingerprint", Msg: err.Error()}
	}
	c := &tls.Config{
		ServerName:         o.ServerName,
		NextProtos:         o.ALPN,
		InsecureSkipVerify: o.SkipCertVerify,
		RootCAs:            o.Roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if p != nil {
		c.InsecureSkipVerify = true // the pin checks in its place
		c.VerifyConnection = p.verifier(o.ServerName, o.SkipCertVerify)
	}
	if o.Certificate != "" {
		pair, err := o.keyPair()
		if err != nil {
			return nil, &framework.FieldError{Path: "certificate", Msg: err.Error()}
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return &TLS{c}, nil
}

// Client makes raw a TLS connection, within ctx and Timeout. It takes
// ownership of raw: on error it is closed. The error has a class.
func (c *TLS) Client(ctx context.Context, raw net.Conn) (*tls.Conn, error) {
	conn := tls.Client(raw, c.config)
	// The deadline is set below TLS, so no goroutine has to watch ctx.
	err := Do(ctx, raw, func() error { return conn.HandshakeContext(context.Background()) })
	if err != nil {
		raw.Close()
		return nil, framework.Classed(framework.Classify(err), fmt.Errorf("tls handshake: %w", err))
	}
	return conn, nil
}

func (o TLSOptions) keyPair() (tls.Certificate, error) {
	cert, err := o.read(o.Certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := o.read(o.PrivateKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, errors.New(keyPairProblem(err))
	}
	return pair, nil
}

// read returns PEM text as it is, or reads the file of that name.
func (o TLSOptions) read(s string) ([]byte, error) {
	if isPEM(s) {
		return []byte(s), nil
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(o.Dir, s)
	}
	return os.ReadFile(s)
}

func isPEM(s string) bool { return strings.Contains(s, "-----BEGIN ") }

func keyPairProblem(err error) string { return strings.TrimPrefix(err.Error(), "tls: ") }

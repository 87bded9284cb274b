package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// under makes a path absolute, taking it as relative to home; "" stays "".
func under(home, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(home, path)
}

func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", addr)
}

// listenTLS listens with the configured certificate, or with one made for this
// run. Browsers get HTTP/2, WebSocket clients ask for HTTP/1.1.
func (s *Server) listenTLS(ctx context.Context, addr string) (net.Listener, error) {
	pair, err := s.keyPair()
	if err != nil {
		return nil, err
	}
	l, err := listenTCP(ctx, addr)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"h2", "http/1.1"},
		MinVersion:   tls.VersionTLS12,
	}), nil
}

func (s *Server) keyPair() (tls.Certificate, error) {
	if s.cfg.Certificate == "" && s.cfg.PrivateKey == "" {
		return selfSigned()
	}
	cert, err := s.pem(s.cfg.Certificate)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.certificate: %w", err)
	}
	key, err := s.pem(s.cfg.PrivateKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.private-key: %w", err)
	}
	return tls.X509KeyPair(cert, key)
}

// pem is PEM text, given as such or as the path of a file.
func (s *Server) pem(text string) ([]byte, error) {
	switch {
	case text == "":
		return nil, errors.New("missing: certificate and key go together")
	case strings.Contains(text, "-----BEGIN"):
		return []byte(text), nil
	}
	return os.ReadFile(under(s.cfg.Home, text))
}

// selfSigned makes a pair for one run. It is for the name of this machine and
// its loopback names; a browser asks its user once.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "culvert controller"},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if name, err := os.Hostname(); err == nil {
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// listenUnix listens at path. It makes the folders above, takes a socket that
// an earlier run left out of the way, and lets every user of the machine in:
// who may reach the file is the folder's business.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is there and is no socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

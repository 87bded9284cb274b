package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

const (
	// maxHeader bounds the header of an answer; chosen: 16 times what servers
	// send.
	maxHeader = 64 << 10
	// tlsTimeout bounds the handshake with the target, as in mihomo's
	// adapter/adapter.go.
	tlsTimeout = 10 * time.Second
	// maxDelay is what the API's 16 bits hold.
	maxDelay = 65535 * time.Millisecond
)

var (
	errURL     = errors.New("want an http or https URL")
	errInterim = errors.New("the server sends interim answers only")
)

// target is a test URL, taken apart.
type target struct {
	addr   framework.Addr
	secure bool
	host   string // the Host header
	server string // the name in the certificate
	path   string
}

func parseTarget(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return target{}, errURL
	}
	t := target{host: u.Host, server: u.Hostname(), path: u.RequestURI()}
	switch u.Scheme {
	case "http":
		t.addr.Port = 80
	case "https":
		t.addr.Port, t.secure = 443, true
	default:
		return target{}, errURL
	}
	if p := u.Port(); p != "" {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return target{}, fmt.Errorf("port %q: %w", p, errURL)
		}
		t.addr.Port = uint16(port)
	}
	if ip, err := netip.ParseAddr(t.server); err == nil {
		t.addr.IP = ip.Unmap()
	} else {
		t.addr.Host = strings.TrimSuffix(strings.ToLower(t.server), ".")
	}
	return t, nil
}

// request sends HEAD through via and returns the status of the answer and how
// long it took from before the dial. With unified a second request on the
// same connection is timed instead; where that fails the first counts. ctx
// bounds all of it.
func request(ctx context.Context, via framework.Dialer, t target, unified bool, roots *x509.CertPool) (status int, took time.Duration, err error) {
	begin := time.Now()
	c, err := via.DialStream(ctx, t.addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if t.secure {
		if c, err = handshake(ctx, c, t.server, roots); err != nil {
			return 0, 0, err
		}
	}
	limit := &io.LimitedReader{R: c}
	r := bufio.NewReader(limit)
	resp, err := head(c, r, limit, t)
	took = time.Since(begin)
	if err != nil {
		return 0, 0, errors.Join(context.Cause(ctx), err)
	}
	if !unified || resp.Close {
		return resp.StatusCode, took, nil
	}
	begin = time.Now()
	again, err := head(c, r, limit, t)
	if err != nil {
		return resp.StatusCode, took, nil
	}
	return again.StatusCode, time.Since(begin), nil
}

// handshake speaks TLS over c; the caller still closes c.
func handshake(ctx context.Context, c net.Conn, server string, roots *x509.CertPool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	s := tls.Client(c, &tls.Config{ServerName: server, RootCAs: roots, NextProtos: []string{"http/1.1"}})
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake with the target: %w", err)
	}
	return s, nil
}

// head sends one request and reads the answer, which has no body. The user
// agent is what mihomo sends.
func head(c net.Conn, r *bufio.Reader, limit *io.LimitedReader, t target) (*http.Response, error) {
	limit.N = maxHeader
	text := "HEAD " + t.path + " HTTP/1.1\r\nHost: " + t.host + "\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"
	if _, err := io.WriteString(c, text); err != nil {
		return nil, err
	}
	for range 5 { // interim answers come before the one
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodHead})
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		if resp.StatusCode >= 200 {
			return resp, nil
		}
	}
	return nil, errInterim
}

// whole is a delay as results have it: whole milliseconds, never 0, which
// would say that the test failed.
func whole(d time.Duration) time.Duration {
	return min(max(d.Truncate(time.Millisecond), time.Millisecond), maxDelay)
}

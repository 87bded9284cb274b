package http

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// maxHead bounds the head of an answer in bytes. Chosen: far more than proxies
// send, and little to hold.
const maxHead = 64 << 10

var (
	errNotHTTP = framework.Classed(framework.ErrProtocol, errors.New("the answer is not HTTP/1"))
	errHead    = framework.Classed(framework.ErrProtocol, fmt.Errorf("the answer's head is longer than %d bytes", maxHead))
	errHost    = framework.Classed(framework.ErrUnsupported, errors.New("the destination's name does not fit into a request"))
)

// request is a CONNECT but for the destination.
type request struct {
	host   string // a configured Host line, else "" for the destination's
	fields string // the other lines and the blank one
}

// newRequest lays out the fields that every CONNECT of c has: the peer's,
// config-proxies.md §3, and the configured ones over them.
func newRequest(c Config) request {
	fields := map[string]string{
		"User-Agent":       "Go-http-client/1.1",
		"Proxy-Connection": "Keep-Alive",
	}
	for k, v := range c.Headers {
		fields[textproto.CanonicalMIMEHeaderKey(k)] = string(v)
	}
	if c.Username != "" && c.Password != "" {
		pair := c.Username + ":" + string(c.Password)
		fields["Proxy-Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	r := request{host: fields["Host"]}
	delete(fields, "Host")
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "%s: %s\r\n", k, fields[k])
	}
	r.fields = b.String() + "\r\n"
	return r
}

// checkHeaders refuses what would break the request's lines.
func checkHeaders(h map[string]framework.Secret) error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(h)) {
		switch {
		case !isToken(k):
			errs = append(errs, &framework.FieldError{Path: "headers", Msg: fmt.Sprintf("%q is no header name", k)})
		case strings.ContainsAny(string(h[k]), "\r\n\x00"):
			errs = append(errs, &framework.FieldError{Path: "headers." + k, Msg: "has a line break or a NUL"})
		}
	}
	return errors.Join(errs...)
}

// isToken says whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// append writes the request for a tunnel to a destination.
func (r request) append(b []byte, to framework.Addr) ([]byte, error) {
	for i := range len(to.Host) {
		if c := to.Host[i]; c <= ' ' || c >= 0x7f || c == ':' || c == '/' {
			return nil, errHost
		}
	}
	to.IP = to.IP.WithZone("") // a zone means nothing on another machine
	target := to.String()
	host := r.host
	if host == "" {
		host = target
	}
	b = append(append(append(b, "CONNECT "...), target...), " HTTP/1.1\r\nHost: "...)
	return append(append(append(b, host...), "\r\n"...), r.fields...), nil
}

// send asks for a tunnel and reads the answer. rest are the tunnel's bytes
// that came with it; the caller owns them.
func (r request) send(rw io.ReadWriter, to framework.Addr) (rest []byte, err error) {
	buf, err := r.append(make([]byte, 0, 1024), to)
	if err != nil {
		return nil, err
	}
	if _, err := rw.Write(buf); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	return readAnswer(rw, buf[:0])
}

// readAnswer reads heads until one that is final. buf is what it may read into.
func readAnswer(r io.Reader, buf []byte) (rest []byte, err error) {
	interim := 0 // bytes of heads that are not final
	for {
		a, err := parseHead(buf)
		switch {
		case err != nil:
			return nil, err
		case a.length > 0 && a.interim():
			interim += a.length
			buf = buf[a.length:]
			continue
		case a.length > 0:
			return buf[a.length:], a.verdict()
		case interim+len(buf) >= maxHead:
			return nil, errHead
		}
		buf = slices.Grow(buf, 512)
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && n == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read answer: %w", err)
		}
	}
}

// answer is the head of an HTTP answer.
type answer struct {
	status int
	reason string
	length int // bytes, blank line included; 0 while it is not complete
}

// interim says whether another answer follows, RFC 9110 §15.2.
func (a answer) interim() bool { return a.status < 200 && a.status != 101 }

// verdict is nil when the tunnel is open.
func (a answer) verdict() error {
	if a.status/100 == 2 {
		return nil
	}
	class := framework.ErrRefused
	switch a.status {
	case 401, 403, 407:
		class = framework.ErrAuth
	}
	return framework.Classed(class, fmt.Errorf("the proxy answers %d %s", a.status, a.reason))
}

// parseHead reads: HTTP/1.x SP status [SP reason] CRLF, fields, blank line. It
// fails as soon as the bytes cannot become that. It does not keep b.
func parseHead(b []byte) (answer, error) {
	const start = "HTTP/1."
	if n := min(len(b), len(start)); string(b[:n]) != start[:n] {
		return answer{}, errNotHTTP
	}
	end := headEnd(b)
	if end == 0 {
		return answer{}, nil
	}
	if end > maxHead {
		return answer{}, errHead
	}
	line, _, _ := bytes.Cut(b[:end], []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	code, found := statusCode(line[min(len(line), len(start)):])
	if !found {
		return answer{}, errNotHTTP
	}
	return answer{code, reason(line[min(len(line), len("HTTP/1.1 200 ")):]), end}, nil
}

// statusCode reads the status from "1 200 …".
func statusCode(b []byte) (code int, ok bool) {
	if len(b) < 5 || b[1] != ' ' || len(b) > 5 && b[5] != ' ' {
		return 0, false
	}
	for _, c := range b[2:5] {
		if c < '0' || c > '9' {
			return 0, false
		}
		code = code*10 + int(c-'0')
	}
	return code, code >= 100
}

// reason is a reason phrase fit for an error: short, and of plain characters.
func reason(b []byte) string {
	b = b[:min(len(b), 100)]
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, b))
}

// headEnd is the length of the head with its blank line, or 0 without one.
// Lines may end in LF alone, as RFC 9112 §2.2 lets a reader accept.
func headEnd(b []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := b[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 2
		}
	}
}

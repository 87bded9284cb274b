package httpproxy

import (
	"bytes"
	"math"
	"strconv"
)

// framing is how long a body is and how one knows.
type framing struct {
	kind   frame
	length int64 // with byLength
}

type frame uint8

const (
	noBody   frame = iota
	byLength       // Content-Length
	byChunks       // Transfer-Encoding: chunked
	byClose        // until the connection ends; answers only
)

// request is what a request line and the framing of its message say. Its
// slices lie in the head.
type request struct {
	method, target []byte
	minor          byte // of HTTP/1.x: 0 or 1
	body           framing
	keep           bool // the client wants to go on after the answer
	upgrade        []byte
}

// parseRequest reads h as a request. Shapes that two programs could frame in
// two ways are errMalformed: RFC 9112 §6.3 and §11.2.
func (h *head) parseRequest() (request, error) {
	var r request
	method, rest, ok1 := bytes.Cut(h.first, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !isToken(method) || !isTarget(target) {
		return r, errMalformed
	}
	switch string(version) {
	case "HTTP/1.0":
	case "HTTP/1.1":
		r.minor = 1
	default:
		return r, errMalformed
	}
	r.method, r.target = method, target
	if _, n := h.value("host"); n > 1 {
		return r, errMalformed
	}
	var err error
	if r.body, err = h.framing(); err != nil || r.body.kind == byChunks && r.minor == 0 {
		return r, errMalformed
	}
	r.keep = !h.listed("close") && (r.minor == 1 || h.listed("keep-alive"))
	if v, n := h.value("upgrade"); n == 1 && r.minor == 1 && h.listed("upgrade") && r.body.kind == noBody && !bytes.Contains(bytes.ToLower(v), []byte("h2c")) {
		r.upgrade = v // not to HTTP/2, whose settings would be lost
	}
	return r, nil
}

// framing reads Content-Length and Transfer-Encoding; both is an error.
func (h *head) framing() (framing, error) {
	coding, codings := h.value("transfer-encoding")
	_, lengths := h.value("content-length")
	switch {
	case codings > 1, codings == 1 && lengths > 0, codings == 1 && !isName(coding, "chunked"):
		return framing{}, errMalformed
	case codings == 1:
		return framing{kind: byChunks}, nil
	case lengths == 0:
		return framing{}, nil
	}
	length := int64(-1)
	for _, f := range h.fields {
		if !isName(f.name, "content-length") {
			continue
		}
		n, ok := decimal(f.value)
		if !ok || length >= 0 && n != length {
			return framing{}, errMalformed
		}
		length = n
	}
	if length == 0 {
		return framing{kind: noBody}, nil
	}
	return framing{byLength, length}, nil
}

// response is what a status line and the framing of its message say.
type response struct {
	status int
	reason []byte
	minor  byte
	body   framing
	keep   bool // the server may be asked again
}

// parseResponse reads h as the answer to method. RFC 9112 §6.3: chunks beat a
// length, and such a server is not asked again.
func (h *head) parseResponse(method string) (response, error) {
	var r response
	version, rest, _ := bytes.Cut(h.first, []byte(" "))
	code, reason, _ := bytes.Cut(rest, []byte(" "))
	status, ok := decimal(code)
	if !ok || len(code) != 3 || status < 100 || len(version) != 8 || string(version[:7]) != "HTTP/1." || !isValue(reason) {
		return r, errMalformed
	}
	r.status, r.reason = int(status), reason
	if version[7] != '0' {
		r.minor = 1
	}
	r.keep = !h.listed("close") && (r.minor == 1 || h.listed("keep-alive"))
	coding, codings := h.value("transfer-encoding")
	_, lengths := h.value("content-length")
	switch {
	case method == "HEAD", r.status < 200, r.status == 204, r.status == 304:
		return r, nil
	case codings == 1 && isName(coding, "chunked"):
		r.body.kind = byChunks
		r.keep = r.keep && lengths == 0
		return r, nil
	case codings > 0:
		return r, errMalformed
	case lengths == 0:
		r.body.kind, r.keep = byClose, false
		return r, nil
	}
	var err error
	r.body, err = h.framing()
	return r, err
}

// isTarget says whether b may be a request target: visible ASCII without '#'.
func isTarget(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return len(b) > 0
}

// decimal reads digits and nothing else.
func decimal(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(b) > 0
}

// appendFraming appends the fields that say how long a body is.
func appendFraming(b []byte, f framing) []byte {
	switch f.kind {
	case byLength:
		b = strconv.AppendInt(append(b, "Content-Length: "...), f.length, 10)
		b = append(b, "\r\n"...)
	case byChunks:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return b
}

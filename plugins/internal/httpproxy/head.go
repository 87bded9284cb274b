package httpproxy

import (
	"bytes"
	"errors"
	"io"
)

// Limits of a head; the length is issue 2's, the count is chosen: browsers
// send some twenty fields.
const (
	maxHead   = 64 << 10
	maxFields = 256
	keepHead  = 8 << 10 // a head that grew beyond is not kept in the pool
)

var (
	errMalformed = errors.New("malformed http head")
	errTooLarge  = errors.New("http head is too large")
)

// field is one header field; both parts lie in the head's buf.
type field struct{ name, value []byte }

// head is the start of a message, up to and with its empty line.
type head struct {
	buf    []byte
	first  []byte // the request line or status line, without its end
	fields []field
	lists  [][]byte // names that Connection lists
	out    []byte   // for what is sent in its place
}

// read reads a head from r. Strict is for what clients send: anything that two
// programs could read in two ways is errMalformed. From a server, lines may
// end in LF alone, and fields with a bad name are left out.
func (h *head) read(r *reader, strict bool) error {
	h.buf = h.buf[:0]
	for start, blank := 0, false; ; {
		b, err := r.line(h.buf, maxHead)
		h.buf = b
		if err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		line, ok := cutEnd(b[start:], strict)
		switch {
		case !ok:
			return errMalformed
		case len(line) > 0:
			start = len(b)
		case start > 0:
			return h.parse(strict)
		case blank:
			return errMalformed
		default: // RFC 9112 §2.2: an empty line may come before a head
			blank = true
			h.buf = b[:0]
		}
	}
}

// cutEnd takes the end off a line. CR stands only there.
func cutEnd(line []byte, strict bool) ([]byte, bool) {
	body, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		body = bytes.TrimSuffix(line, []byte("\n"))
		ok = !strict
	}
	return body, ok && bytes.IndexByte(body, '\r') < 0
}

func (h *head) parse(strict bool) error {
	h.fields, h.lists, h.first = h.fields[:0], h.lists[:0], nil
	for rest := h.buf; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		line, _ := cutEnd(rest[:i+1], strict)
		rest = rest[i+1:]
		switch {
		case h.first == nil:
			h.first = line
		case len(line) == 0:
		default:
			if err := h.parseField(line, strict); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *head) parseField(line []byte, strict bool) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if line[0] == ' ' || line[0] == '\t' { // a folded line, RFC 9112 §5.2
		return errMalformed
	}
	if !strict {
		name = bytes.TrimRight(name, " \t")
	}
	value = bytes.Trim(value, " \t")
	if !ok || !isToken(name) || !isValue(value) {
		if strict {
			return errMalformed
		}
		return nil
	}
	if len(h.fields) == maxFields {
		return errTooLarge
	}
	h.fields = append(h.fields, field{name, value})
	if isName(name, "connection") || isName(name, "proxy-connection") {
		for option := range bytes.SplitSeq(value, []byte(",")) {
			h.lists = append(h.lists, bytes.Trim(option, " \t"))
		}
	}
	return nil
}

// listed says whether Connection or Proxy-Connection holds option, which is in
// lower case.
func (h *head) listed(option string) bool {
	for _, l := range h.lists {
		if isName(l, option) {
			return true
		}
	}
	return false
}

// value is that of the field name, in lower case, and how often it is there.
func (h *head) value(name string) (value []byte, count int) {
	for _, f := range h.fields {
		if isName(f.name, name) {
			value = f.value
			count++
		}
	}
	return value, count
}

// appendFields appends the fields that go end to end. Framing and Host are the
// caller's.
func (h *head) appendFields(b []byte, keepTrailer bool) []byte {
	for _, f := range h.fields {
		if h.hop(f.name) || isName(f.name, "trailer") && !keepTrailer {
			continue
		}
		b = append(append(b, f.name...), ": "...)
		b = append(append(b, f.value...), "\r\n"...)
	}
	return b
}

// hop says whether a field is for this connection only, RFC 9110 §7.6.1, or
// written anew by appendFields' callers.
func (h *head) hop(name []byte) bool {
	if len(name) >= 6 && isName(name[:6], "proxy-") {
		return true
	}
	switch {
	case isName(name, "connection"), isName(name, "keep-alive"), isName(name, "te"), isName(name, "upgrade"),
		isName(name, "transfer-encoding"), isName(name, "content-length"), isName(name, "host"):
		return true
	}
	for _, l := range h.lists {
		if bytes.EqualFold(l, name) {
			return true
		}
	}
	return false
}

// isName compares b with lower, which is in lower case.
func isName(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken says whether b is a token, RFC 9110 §5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// isValue says whether b may be a field's value: no control characters but tab.
func isValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

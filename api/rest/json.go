package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// The fixed error texts of the API.
const (
	textBodyInvalid  = "Body invalid"
	textUnauthorized = "Unauthorized"
	textNotFound     = "Resource not found"
	textTimeout      = "Timeout"
	textDelayFailed  = "An error occurred in the delay test"
)

// respond answers with v as JSON and a newline.
func respond(c echo.Context, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return respondRaw(c, status, append(b, '\n'))
}

// respondRaw answers with JSON that is ready. Its length is said, which spares
// the chunks of a long list.
func respondRaw(c echo.Context, status int, b []byte) error {
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(b)))
	return c.Blob(status, echo.MIMEApplicationJSON, b)
}

// fail answers with an error.
func fail(c echo.Context, status int, text string) error {
	b := append(make([]byte, 0, len(text)+16), `{"message":`...)
	b = appendString(b, text)
	return respondRaw(c, status, append(b, "}\n"...))
}

// badBody answers that the body or the query was not understood.
func badBody(c echo.Context) error { return fail(c, http.StatusBadRequest, textBodyInvalid) }

// notFound answers that a known route got an unknown name.
func notFound(c echo.Context) error { return fail(c, http.StatusNotFound, textNotFound) }

// done answers with no content, or with err: 404 for ErrNotFound, else status.
func done(c echo.Context, err error, status int) error {
	switch {
	case err == nil:
		return c.NoContent(http.StatusNoContent)
	case errors.Is(err, ErrNotFound):
		return notFound(c)
	}
	return fail(c, status, err.Error())
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD; what a browser may take for markup is escaped.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = appendEscape(append(b, s[start:i]...), c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + n
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), `\u202`...)
			b = append(b, hexDigits[r&15])
			start = i + n
		}
		i += n
	}
	return append(append(b, s[start:]...), '"')
}

// appendEscape appends one ASCII character in its escaped form.
func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendStrings appends an array of strings, [] for nil.
func appendStrings(b []byte, ss []string) []byte {
	b = append(b, '[')
	for i, s := range ss {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendTime appends a time in RFC 3339 with its fraction.
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// The fields below append `,"key":value`; key has no character to escape.

func fieldKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func fieldString(b []byte, key, v string) []byte { return appendString(fieldKey(b, key), v) }

func fieldBool(b []byte, key string, v bool) []byte {
	return strconv.AppendBool(fieldKey(b, key), v)
}

func fieldInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(fieldKey(b, key), v, 10)
}

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

func fieldTime(b []byte, key string, v time.Time) []byte { return appendTime(fieldKey(b, key), v) }

package rest

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/labstack/echo/v4"
)

// CORS says which pages a browser lets read the answers.
type CORS struct {
	// AllowOrigins are origins, compared without regard to case, with at most
	// one * in each; empty means all.
	AllowOrigins []string
	// AllowPrivateNetwork lets pages of public sites reach a kernel on a
	// private address; the configuration's default is true.
	AllowPrivateNetwork bool
}

// preflightMaxAge is how long a browser may keep the answer to a preflight, in
// seconds; the value that mihomo sends.
const preflightMaxAge = "300"

// any says whether all origins are allowed.
func (o CORS) any() bool {
	for _, p := range o.AllowOrigins {
		if p == "*" {
			return true
		}
	}
	return len(o.AllowOrigins) == 0
}

// allows says whether pages of an origin may read answers.
func (o CORS) allows(origin string) bool {
	if o.any() {
		return true
	}
	origin = strings.ToLower(origin)
	for _, p := range o.AllowOrigins {
		before, after, wild := strings.Cut(strings.ToLower(p), "*")
		if !wild && origin == before {
			return true
		}
		if wild && len(origin) >= len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after) {
			return true
		}
	}
	return false
}

// answerFor is the value of Access-Control-Allow-Origin, "" to leave it out.
func (o CORS) answerFor(origin string) string {
	switch {
	case origin == "" || !o.allows(origin):
		return ""
	case o.any():
		return "*"
	}
	return origin
}

// middleware adds the CORS headers and answers preflights. It comes before
// authentication: a browser sends no secret with a preflight, and shows the
// page a 401 only if the headers are on it.
func (o CORS) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, h := c.Request(), c.Response().Header()
		h.Add("Vary", "Origin")
		allowed := o.answerFor(r.Header.Get("Origin"))
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			o.preflight(r, h, allowed)
			h.Set("Content-Length", "0")
			return c.NoContent(http.StatusOK)
		}
		if allowed != "" {
			h.Set("Access-Control-Allow-Origin", allowed)
		}
		return next(c)
	}
}

func (o CORS) preflight(r *http.Request, h http.Header, allowed string) {
	h.Add("Vary", "Access-Control-Request-Method")
	h.Add("Vary", "Access-Control-Request-Headers")
	method := r.Header.Get("Access-Control-Request-Method")
	headers, ok := requestedHeaders(r)
	if allowed == "" || !ok {
		return
	}
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return
	}
	h.Set("Access-Control-Allow-Origin", allowed)
	h.Set("Access-Control-Allow-Methods", method)
	if headers != "" {
		h.Set("Access-Control-Allow-Headers", headers)
	}
	h.Set("Access-Control-Max-Age", preflightMaxAge)
	if o.AllowPrivateNetwork && r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
}

// requestedHeaders are the headers that a preflight asks for, in canonical
// case; ok is false when one of them is not allowed.
func requestedHeaders(r *http.Request) (list string, ok bool) {
	var names []string
	for _, name := range strings.Split(strings.Join(r.Header.Values("Access-Control-Request-Headers"), ","), ",") {
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		switch name {
		case "":
		case "Authorization", "Content-Type":
			names = append(names, name)
		default:
			return "", false
		}
	}
	return strings.Join(names, ", "), true
}

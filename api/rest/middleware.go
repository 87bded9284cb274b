package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework"
)

// recoverer turns a panic into an answer, so that one bad request never ends
// the process.
func (a *API) recoverer(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.log.Error("controller request panicked", "path", c.Request().URL.Path, "panic", p, "stack", string(debug.Stack()))
			if !c.Response().Committed {
				_ = fail(c, http.StatusInternalServerError, "internal error")
			}
		}()
		return next(c)
	}
}

// bodies gives a request with a body a time to send it in. Reading it all
// lifts the limit again.
func (a *API) bodies(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength != 0 {
			// Not all writers can; then the listener's own limits hold.
			_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(a.cfg.Limits.ReadBody))
		}
		// Routes are matched on the escaped path, so that %2F stays within its
		// segment; the router takes RawPath when it is set.
		r.URL.RawPath = r.URL.EscapedPath()
		return next(c)
	}
}

// subtrees are the first segments below which every path needs the secret,
// whether it is routed or not.
var subtrees = map[string]bool{
	"cache": true, "configs": true, "connections": true, "dns": true, "group": true,
	"plugins": true, "proxies": true, "restart": true, "rules": true, "storage": true, "upgrade": true,
}

// leaves are the paths that need the secret, and nothing below them.
var leaves = map[string]bool{
	"/": true, "/version": true, "/logs": true, "/traffic": true, "/memory": true, "/metrics": true,
}

// guarded says whether a path needs the secret.
func guarded(path string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == "providers" {
		kind, _, _ := strings.Cut(rest, "/")
		return kind == "proxies" || kind == "rules"
	}
	return leaves[path] || subtrees[first]
}

// authenticate lets pass who knows the secret. A token in the query counts for
// WebSockets only, and then it alone counts.
func authenticate(secret framework.Secret) echo.MiddlewareFunc {
	want := sha256.Sum256([]byte(secret))
	is := func(text string) bool {
		got := sha256.Sum256([]byte(text)) // equal lengths: the comparison tells nothing of the secret's
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if secret == "" || !guarded(r.URL.RawPath) {
				return next(c)
			}
			token := ""
			if isUpgrade(r) {
				token = r.URL.Query().Get("token")
			}
			if token == "" {
				scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " ")
				if !ok || scheme != "Bearer" {
					return fail(c, http.StatusUnauthorized, textUnauthorized)
				}
				token = given
			}
			if !is(token) {
				return fail(c, http.StatusUnauthorized, textUnauthorized)
			}
			return next(c)
		}
	}
}

// isUpgrade says whether a request asks for a WebSocket (RFC 6455, 4.2.1).
func isUpgrade(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

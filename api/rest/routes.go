package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework"
)

// Handler answers requests of a listener that asks for the secret.
func (a *API) Handler() http.Handler { return a.handler(a.cfg.Secret) }

// OpenHandler answers requests without asking for the secret: on a Unix
// socket, where the file's mode says who may come.
func (a *API) OpenHandler() http.Handler { return a.handler("") }

func (a *API) handler(secret framework.Secret) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = a.routeError
	e.Pre(a.recoverer, a.cfg.CORS.middleware, a.bodies, authenticate(secret))
	e.Use(optionsIsNoMethod)
	for _, r := range a.routes() {
		e.Add(r.method, r.path, r.handle)
		if r.slash {
			e.Add(r.method, r.path+"/", r.handle)
		}
	}
	a.mountUI(e)
	a.mountDebug(e)
	return e
}

// route is one row of the API; slash says that the path may end in one.
type route struct {
	method, path string
	slash        bool
	handle       echo.HandlerFunc
}

func (a *API) routes() []route {
	const get, put, post, patch, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete
	rows := []route{
		{get, "/", false, a.hello},
		{get, "/version", false, a.version},
		{get, "/logs", false, a.logs},
		{get, "/traffic", false, a.streamTraffic},
		{get, "/memory", false, a.streamMemory},

		{get, "/configs", true, a.getConfigs},
		{put, "/configs", true, a.putConfigs},
		{patch, "/configs", true, a.patchConfigs},
		{post, "/configs/geo", true, a.updateGeo},

		{get, "/proxies", true, a.listProxies},
		{get, "/proxies/:name", true, a.getProxy},
		{put, "/proxies/:name", true, a.selectProxy},
		{del, "/proxies/:name", true, a.unfixProxy},
		{get, "/proxies/:name/delay", true, a.proxyDelay},
		{get, "/group", true, a.listGroups},
		{get, "/group/:name", true, a.getGroup},
		{get, "/group/:name/delay", true, a.groupDelay},

		{get, "/providers/proxies", true, a.listProxyProviders},
		{get, "/providers/proxies/:provider", true, a.getProxyProvider},
		{put, "/providers/proxies/:provider", true, a.updateProxyProvider},
		{get, "/providers/proxies/:provider/healthcheck", true, a.checkProxyProvider},
		{get, "/providers/proxies/:provider/:name", true, a.getProviderNode},
		{get, "/providers/proxies/:provider/:name/healthcheck", true, a.providerNodeDelay},
		{get, "/providers/rules", true, a.listRuleProviders},
		{put, "/providers/rules/:provider", true, a.updateRuleProvider},

		{get, "/rules", true, a.listRules},
		{patch, "/rules/disable", true, a.disableRules},
		{get, "/rules/explain", true, a.explain},

		{get, "/connections", true, a.connections},
		{del, "/connections", true, a.closeConnections},
		{del, "/connections/:id", true, a.closeConnection},

		{get, "/plugins", true, a.listPlugins},
		{put, "/plugins/:name", true, a.upgradePlugin},
		{del, "/plugins/:name", true, a.unloadPlugin},
		{get, "/plugins/:name/schema", true, a.pluginSchema},

		{get, "/dns/query", true, a.queryDNS},
		{post, "/cache/fakeip/flush", true, a.flushFakeIP},
		{post, "/cache/dns/flush", true, a.flushDNS},
		{get, "/storage/:key", true, a.getStorage},
		{put, "/storage/:key", true, a.putStorage},
		{del, "/storage/:key", true, a.deleteStorage},
		{post, "/restart", true, a.restart},
		{post, "/upgrade", true, a.upgrade},
		{post, "/upgrade/ui", true, a.upgradeUI},
		{post, "/upgrade/geo", true, a.updateGeo},
	}
	if a.cfg.Metrics != nil {
		rows = append(rows, route{get, "/metrics", false, echo.WrapHandler(a.cfg.Metrics)})
	}
	return rows
}

// optionsIsNoMethod makes an OPTIONS that is no preflight a wrong method like
// any other; the router would answer it by itself.
func optionsIsNoMethod(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions && c.Get(echo.ContextKeyHeaderAllow) != nil {
			return echo.ErrMethodNotAllowed
		}
		return next(c)
	}
}

// routeError answers what the router or a handler returned as an error. The
// router's own are no JSON, as in mihomo.
func (a *API) routeError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	var he *echo.HTTPError
	switch {
	case errors.Is(err, errTooLarge):
		_ = fail(c, http.StatusRequestEntityTooLarge, errTooLarge.Error())
	case !errors.As(err, &he):
		a.log.Warn("controller request", "path", c.Path(), "err", err)
		_ = fail(c, http.StatusInternalServerError, err.Error())
	case he.Code == http.StatusMethodNotAllowed:
		allow, _ := c.Get(echo.ContextKeyHeaderAllow).(string)
		c.Response().Header().Set("Allow", strings.TrimPrefix(allow, "OPTIONS, "))
		_ = c.NoContent(http.StatusMethodNotAllowed)
	default:
		http.NotFound(c.Response(), c.Request())
	}
}

// param is a path parameter, percent-decoded.
func param(c echo.Context, name string) string {
	raw := c.Param(name)
	text, err := url.PathUnescape(raw)
	if err != nil { // the server refuses such paths before
		return raw
	}
	return text
}

// spellings are the names that a path parameter may mean: decoded once, and
// twice for clients that escape twice.
func spellings(c echo.Context, name string) []string {
	once := param(c, name)
	if twice, err := url.PathUnescape(once); err == nil && twice != once {
		return []string{once, twice}
	}
	return []string{once}
}

// errTooLarge is a body over the limit.
var errTooLarge = errors.New("request body too large")

// readBody reads the whole body, up to limit bytes, whatever its type is said
// to be.
func (a *API) readBody(c echo.Context, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c.Request().Body, limit+1))
	if int64(len(b)) > limit {
		return nil, errTooLarge
	}
	if err == nil {
		_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Time{})
	}
	return b, err
}

// errBody is a body that could not be read or decoded.
var errBody = errors.New("body invalid")

// decodeBody decodes the first JSON value of the body into v. The error is
// errTooLarge or errBody.
func (a *API) decodeBody(c echo.Context, limit int64, v any) error {
	b, err := a.readBody(c, limit)
	if errors.Is(err, errTooLarge) {
		return err
	}
	if err != nil || decodeFirst(b, v) != nil {
		return errBody
	}
	return nil
}

// refuse answers an error of decodeBody.
func refuse(c echo.Context, err error) error {
	if errors.Is(err, errTooLarge) {
		return err
	}
	return badBody(c)
}

// decodeFirst decodes the first JSON value of b; what follows is not looked at.
func decodeFirst(b []byte, v any) error {
	return json.NewDecoder(bytes.NewReader(b)).Decode(v)
}

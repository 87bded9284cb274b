package rest

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework"
)

// listProxies answers with all proxies and groups by name.
func (a *API) listProxies(c echo.Context) error {
	fr := newFrame(func(b []byte) []byte {
		b = append(b, `{"proxies":`...)
		b = appendProxyMap(b, a.Proxies.Proxies())
		return append(b, "}\n"...)
	})
	defer fr.release()
	return respondRaw(c, http.StatusOK, fr.data)
}

// listGroups answers with all groups, GLOBAL and hidden ones included.
func (a *API) listGroups(c echo.Context) error {
	var groups []Proxy
	for _, p := range a.Proxies.Proxies() {
		if p.Group != nil {
			groups = append(groups, p)
		}
	}
	b := appendProxyList([]byte(`{"proxies":`), groups)
	return respondRaw(c, http.StatusOK, append(b, "}\n"...))
}

// findProxy is the proxy that the path names.
func (a *API) findProxy(c echo.Context) (Proxy, bool) {
	for _, name := range spellings(c, "name") {
		if p, ok := a.Proxies.Proxy(name); ok {
			return p, true
		}
	}
	return Proxy{}, false
}

// findGroup is the group that the path names.
func (a *API) findGroup(c echo.Context) (Proxy, bool) {
	p, ok := a.findProxy(c)
	return p, ok && p.Group != nil
}

func respondProxy(c echo.Context, p *Proxy) error {
	return respondRaw(c, http.StatusOK, append(appendProxy(nil, p), '\n'))
}

func (a *API) getProxy(c echo.Context) error {
	p, ok := a.findProxy(c)
	if !ok {
		return notFound(c)
	}
	return respondProxy(c, &p)
}

func (a *API) getGroup(c echo.Context) error {
	p, ok := a.findGroup(c)
	if !ok {
		return notFound(c)
	}
	return respondProxy(c, &p)
}

// selectProxy chooses the member of a group.
func (a *API) selectProxy(c echo.Context) error {
	p, ok := a.findProxy(c)
	if !ok {
		return notFound(c)
	}
	var body struct {
		Name string `json:"name"`
	}
	if err := a.decodeBody(c, a.cfg.Limits.Body, &body); err != nil {
		return refuse(c, err)
	}
	if p.Group == nil {
		return fail(c, http.StatusBadRequest, "Must be a Selector")
	}
	err := a.Selector.Select(a.ctx, p.Name, body.Name)
	switch {
	case errors.Is(err, ErrNotSelector):
		return fail(c, http.StatusBadRequest, "Must be a Selector")
	case errors.Is(err, framework.ErrNotMember):
		return fail(c, http.StatusBadRequest, "Selector update error: proxy not exist")
	}
	return done(c, err, http.StatusInternalServerError)
}

// unfixProxy clears the pin of a group.
func (a *API) unfixProxy(c echo.Context) error {
	p, ok := a.findProxy(c)
	if !ok {
		return notFound(c)
	}
	if !pinnable(p.Type) {
		return badBody(c)
	}
	err := a.Selector.Unfix(p.Name)
	if errors.Is(err, ErrNotFixable) {
		return badBody(c)
	}
	return done(c, err, http.StatusInternalServerError)
}

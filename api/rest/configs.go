package rest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

func (a *API) getConfigs(c echo.Context) error {
	return respond(c, http.StatusOK, a.Configs.Settings())
}

// patchConfigs changes settings: all of the body is understood before any of
// it is applied.
func (a *API) patchConfigs(c echo.Context) error {
	var p *Patch
	if err := a.decodeBody(c, a.cfg.Limits.Body, &p); err != nil {
		return refuse(c, err)
	}
	if p == nil {
		p = new(Patch) // null is taken for {}
	}
	if !p.normalize() {
		return badBody(c)
	}
	return done(c, a.Configs.Patch(a.ctx, *p), http.StatusInternalServerError)
}

var (
	modes        = []string{"rule", "global", "direct"}
	levels       = []string{"silent", "error", "warning", "info", "debug"}
	processModes = []string{"strict", "always", "off"}
	stacks       = []string{"gVisor", "System", "Mixed"}
)

// normalize spells the words of p as Settings does; false means that one is
// not known.
func (p *Patch) normalize() bool {
	ok := spell(p.Mode, modes) && spell(p.LogLevel, levels) && spell(p.FindProcessMode, processModes)
	if p.Tun != nil {
		ok = ok && spell(p.Tun.Stack, stacks)
	}
	for _, list := range []*[]netip.Prefix{p.SkipAuthPrefixes, p.LANAllowedIPs, p.LANDisallowedIPs} {
		if list != nil && slices.ContainsFunc(*list, func(n netip.Prefix) bool { return !n.IsValid() }) {
			return false
		}
	}
	return ok
}

// spell sets a word to the one of words that it equals without regard to case.
func spell(word *string, words []string) bool {
	if word == nil {
		return true
	}
	i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, *word) })
	if i < 0 {
		return false
	}
	*word = words[i]
	return true
}

// putConfigs loads a document. It goes on when the client leaves: half a
// reload helps nobody.
func (a *API) putConfigs(c echo.Context) error {
	var body *struct {
		Path    string `json:"path"`
		Payload string `json:"payload"`
	}
	if err := a.decodeBody(c, a.cfg.Limits.Document, &body); err != nil {
		return refuse(c, err)
	}
	if body == nil {
		return badBody(c)
	}
	r := ReloadRequest{Payload: body.Payload, Force: c.QueryParam("force") == "true"}
	if r.Payload == "" && body.Path != "" {
		if err := a.checkPath(body.Path); err != nil {
			return fail(c, http.StatusBadRequest, err.Error())
		}
		r.Path = body.Path
	}
	return done(c, a.Applier.Reload(a.ctx, r), http.StatusBadRequest)
}

// checkPath says why a client may not have a file read. The texts are those of
// mihomo.
func (a *API) checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("path is not a absolute path")
	}
	allowed := make([]string, 0, 1+len(a.cfg.SafePaths))
	for _, dir := range append([]string{a.cfg.Home}, a.cfg.SafePaths...) {
		if dir == "" {
			continue
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil && filepath.IsLocal(rel) {
			return nil
		}
		allowed = append(allowed, dir)
	}
	return fmt.Errorf("path is not subpath of home directory or SAFE_PATHS: %s \n allowed paths: [%s]", path, strings.Join(allowed, " "))
}

// updateGeo loads the geo databases anew that the rules need. Where no rule
// can need one, that is done.
func (a *API) updateGeo(c echo.Context) error {
	if a.Geo == nil {
		return c.NoContent(http.StatusNoContent)
	}
	return done(c, a.Geo.UpdateGeo(a.ctx), http.StatusInternalServerError)
}

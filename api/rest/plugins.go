package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// ErrInUse is why a plugin is not unloaded.
var ErrInUse = errors.New("in use")

// Plugins shows and replaces the plugins that run as processes.
type Plugins interface {
	// Plugins are the loaded ones, by name.
	Plugins() []Plugin
	// UpgradePlugin goes over to the executable as it is now, without a gap.
	// After an error, which is shown with 400, the process before serves on.
	UpgradePlugin(ctx context.Context, name string) error
	// UnloadPlugin ends a plugin; ErrInUse, shown with 409, without force while
	// something configured uses it.
	UnloadPlugin(name string, force bool) error
	// PluginSchemas are the JSON Schemas of a type by kind, linked in or not.
	PluginSchemas(typ string) map[string]json.RawMessage
}

// Plugin is a plugin that runs as a process.
type Plugin struct {
	Name       string    `json:"name"`
	Path       string    `json:"path"`
	State      string    `json:"state"`
	Since      time.Time `json:"since"`
	Generation int       `json:"generation"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Restarts   uint64    `json:"restarts"`
	Draining   int       `json:"draining"`
	LastError  string    `json:"lastError"`
	Trace      string    `json:"trace"`
	Missing    []string  `json:"missingProtections"`
	Types      []string  `json:"types"`
	Users      []string  `json:"users"`
}

// listPlugins answers with the loaded plugins.
func (a *API) listPlugins(c echo.Context) error {
	list := []Plugin{}
	if a.Plugins != nil {
		list = append(list, a.Plugins.Plugins()...)
	}
	for i := range list {
		for _, s := range []*[]string{&list[i].Missing, &list[i].Types, &list[i].Users} {
			if *s == nil {
				*s = []string{}
			}
		}
	}
	return respond(c, http.StatusOK, map[string][]Plugin{"plugins": list})
}

// upgradePlugin replaces the process of a plugin.
func (a *API) upgradePlugin(c echo.Context) error {
	if a.Plugins == nil {
		return notFound(c)
	}
	return done(c, a.Plugins.UpgradePlugin(c.Request().Context(), c.Param("name")), http.StatusBadRequest)
}

// unloadPlugin ends a plugin; ?force=true also when it is in use.
func (a *API) unloadPlugin(c echo.Context) error {
	if a.Plugins == nil {
		return notFound(c)
	}
	err := a.Plugins.UnloadPlugin(c.Param("name"), c.QueryParam("force") == "true")
	if errors.Is(err, ErrInUse) {
		return fail(c, http.StatusConflict, err.Error())
	}
	return done(c, err, http.StatusBadRequest)
}

// pluginSchema answers with the schema of a type; ?kind= says which when a
// type's name stands in several kinds.
func (a *API) pluginSchema(c echo.Context) error {
	if a.Plugins == nil {
		return notFound(c)
	}
	found := a.Plugins.PluginSchemas(c.Param("name"))
	kind := c.QueryParam("kind")
	for _, k := range []string{"outbound", "inbound", "group", "rule", "fetcher", "transport"} {
		if schema, ok := found[k]; ok && (kind == "" || kind == k) {
			return respondRaw(c, http.StatusOK, append(append([]byte{}, schema...), '\n'))
		}
	}
	return notFound(c)
}

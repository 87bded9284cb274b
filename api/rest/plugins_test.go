package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/api/rest"
)

// fakePlugins has one plugin called acme, which is in use.
type fakePlugins struct{ done string }

func (f *fakePlugins) Plugins() []rest.Plugin {
	return []rest.Plugin{{Name: "acme", State: "ready", Generation: 2}}
}

func (f *fakePlugins) UpgradePlugin(_ context.Context, name string) error {
	switch name {
	case "acme":
		f.done = "upgrade"
		return nil
	case "picky":
		return errors.New("config.yaml:7:3: refused")
	}
	return rest.ErrNotFound
}

func (f *fakePlugins) UnloadPlugin(name string, force bool) error {
	if name != "acme" {
		return rest.ErrNotFound
	}
	if !force {
		return fmt.Errorf("%w by outbound \"out\"", rest.ErrInUse)
	}
	f.done = "unload"
	return nil
}

func (f *fakePlugins) PluginSchemas(typ string) map[string]json.RawMessage {
	if typ != "acme" {
		return nil
	}
	return map[string]json.RawMessage{"outbound": json.RawMessage(`{"type":"object"}`), "fetcher": json.RawMessage(`{"type":"array"}`)}
}

func TestPluginsAreShownAndReplaced(t *testing.T) {
	t.Parallel()
	f := &fakePlugins{}
	s := serve(t, func(_ *rest.Config, k *rest.Kernel, _ *fake) { k.Plugins = f })
	for _, c := range []struct {
		method, path string
		status       int
		body, done   string
	}{
		{http.MethodGet, "/plugins", 200, `"name":"acme"`, ""},
		{http.MethodGet, "/plugins", 200, `"types":[]`, ""},
		{http.MethodPut, "/plugins/acme", 204, "", "upgrade"},
		{http.MethodPut, "/plugins/picky", 400, "config.yaml:7:3: refused", ""},
		{http.MethodPut, "/plugins/nobody", 404, "", ""},
		{http.MethodDelete, "/plugins/acme", 409, `outbound \"out\"`, ""},
		{http.MethodDelete, "/plugins/acme?force=true", 204, "", "unload"},
		{http.MethodDelete, "/plugins/nobody", 404, "", ""},
		{http.MethodGet, "/plugins/acme/schema", 200, `{"type":"object"}`, ""},
		{http.MethodGet, "/plugins/acme/schema?kind=fetcher", 200, `{"type":"array"}`, ""},
		{http.MethodGet, "/plugins/nobody/schema", 404, "", ""},
	} {
		f.done = ""
		got := s.do(c.method, c.path, "")
		if got.status != c.status || !strings.Contains(got.body, c.body) || f.done != c.done {
			t.Errorf("%s %s: got %d %s, done %q; want %d %s, done %q", c.method, c.path, got.status, got.body, f.done, c.status, c.body, c.done)
		}
	}
}

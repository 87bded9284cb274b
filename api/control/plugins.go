package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/registry"
)

// plugins is the registry as rest.Plugins.
type plugins struct{ *registry.Registry }

// Plugins implements rest.Plugins.
func (p plugins) Plugins() []rest.Plugin {
	var list []rest.Plugin
	for _, s := range p.Registry.Plugins() {
		list = append(list, rest.Plugin{Name: s.Name, Path: s.Path, State: string(s.State), Since: s.Since, Generation: s.Generation,
			Version: s.Version, PID: s.PID, Restarts: s.Restarts, Draining: s.Draining, LastError: s.LastError, Trace: s.Trace,
			Missing: s.Missing, Types: s.Types, Users: s.Users})
	}
	return list
}

// UpgradePlugin implements rest.Plugins.
func (p plugins) UpgradePlugin(ctx context.Context, name string) error {
	return pluginError(p.Upgrade(ctx, name))
}

// UnloadPlugin implements rest.Plugins.
func (p plugins) UnloadPlugin(name string, force bool) error {
	return pluginError(p.Unload(name, force))
}

// pluginError translates the registry's errors into those of rest.
func pluginError(err error) error {
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return rest.ErrNotFound
	case errors.Is(err, registry.ErrInUse):
		return fmt.Errorf("%w: %w", rest.ErrInUse, err)
	}
	return err
}

// PluginSchemas implements rest.Plugins.
func (p plugins) PluginSchemas(typ string) map[string]json.RawMessage {
	found := map[string]json.RawMessage{}
	for _, e := range p.List() {
		if e.Type == typ || slices.Contains(e.Aliases, typ) {
			found[string(e.Kind)] = typeSchema(e.Descriptor)
		}
	}
	return found
}

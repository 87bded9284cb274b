package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
)

// Launcher makes a running plugin of an entry of `plugins:`.
// *subproc.Launcher is one.
type Launcher interface {
	// Launch starts the process and returns when it is ready and described.
	Launch(ctx context.Context, p configs.Plugin) (Plugin, error)
}

// Plugin is a plugin for as long as it is loaded, whatever processes come and
// go meanwhile. It is safe for concurrent use.
type Plugin interface {
	Types() []framework.Descriptor
	// Users are the configured things that use a type of it: `outbound "tokyo"`.
	Users() []string
	// Upgrade goes over to the process that p describes without a gap. accept
	// is asked about its types before it is put in use. After an error the
	// process before serves on.
	Upgrade(ctx context.Context, p configs.Plugin, accept func([]framework.Descriptor) error) error
	Status() Status
	// Close ends the process and returns when it is gone. With drain it returns
	// at once, and the process ends when its flows have, or after that time.
	Close(drain time.Duration)
}

// State is where a plugin is in its life.
type State string

// The states; registry/subproc has a drawing of the ways between them.
const (
	Stopped  State = "stopped"
	Starting State = "starting"
	Ready    State = "ready"
	Backoff  State = "backoff"
	Draining State = "draining"
	Failed   State = "failed"
)

// States are all of them, in the order of a life.
func States() []State { return []State{Stopped, Starting, Ready, Backoff, Draining, Failed} }

// Status says how a plugin is.
type Status struct {
	Name       string
	Path       string // as configured
	State      State
	Since      time.Time // of State
	Generation int
	Version    string // the plugin's own
	PID        int    // 0 when no process runs
	Restarts   uint64
	Draining   int      // processes that were replaced and have flows
	LastError  string   // why the process before ended, "" when it was asked to
	Trace      string   // the panic of the process that panicked last
	Missing    []string // the protections that this platform lacks
	Types      []string // `outbound acme`
	Users      []string
}

// Event says that an origin changed.
type Event struct {
	Origin string
	What   string // "load", "upgrade", "unload"
}

// origin is a loaded plugin.
type origin struct {
	plugin     Plugin
	spec       configs.Plugin
	generation int
	epoch      uint64
}

// Errors that the API answers with a status of their own.
var (
	ErrNotFound = errors.New("no plugin of that name is loaded")
	ErrInUse    = errors.New("in use")
)

// UseLauncher sets what starts processes. It is called before the first Load.
func (r *Registry) UseLauncher(l Launcher) { r.launcher = l }

// Load starts a plugin and publishes its types, all at once. After an error
// nothing is visible and nothing runs.
func (r *Registry) Load(ctx context.Context, p configs.Plugin) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.load(ctx, p)
}

func (r *Registry) load(ctx context.Context, p configs.Plugin) error {
	if r.launcher == nil {
		return errors.New("this build starts no processes")
	}
	if r.origin(p.Name) != nil {
		return fmt.Errorf("a plugin named %q is loaded already", p.Name)
	}
	made, err := r.launcher.Launch(ctx, p)
	if err != nil {
		return err
	}
	o := &origin{plugin: made, spec: p, generation: 1}
	if err := r.publish(p.Name, o, made.Types()); err != nil {
		made.Close(0)
		return err
	}
	r.tell(p.Name, "load")
	return nil
}

// publish replaces the types of an origin by ds, or changes nothing.
func (r *Registry) publish(name string, o *origin, ds []framework.Descriptor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var before []Entry
	for _, e := range r.byName {
		if e.Origin == name {
			before = append(before, e)
		}
	}
	r.remove(name)
	for _, d := range ds {
		if err := r.add(Entry{d, name, o.generation}); err != nil {
			r.remove(name)
			for _, e := range before {
				r.put(e)
			}
			return err
		}
	}
	if r.origins[name] == nil {
		r.epoch++
		o.epoch = r.epoch
	}
	r.origins[name] = o
	return nil
}

func (r *Registry) remove(name string) {
	for at, e := range r.byName {
		if e.Origin == name {
			delete(r.byName, at)
		}
	}
}

func (r *Registry) put(e Entry) {
	for _, name := range append([]string{e.Type}, e.Aliases...) {
		r.byName[key{e.Kind, name}] = e
	}
}

func (r *Registry) origin(name string) *origin {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.origins[name]
}

// Upgrade replaces the process of a plugin by one of the executable as it is
// now, without a gap: open flows end where they are, every configured instance
// goes over. When one of them is refused, the process before serves on and the
// error says which lines.
func (r *Registry) Upgrade(ctx context.Context, name string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	o := r.origin(name)
	if o == nil {
		return ErrNotFound
	}
	return r.upgrade(ctx, o, o.spec)
}

func (r *Registry) upgrade(ctx context.Context, o *origin, p configs.Plugin) error {
	next := &origin{plugin: o.plugin, spec: p, generation: o.generation + 1, epoch: o.epoch}
	published := false
	err := o.plugin.Upgrade(ctx, p, func(ds []framework.Descriptor) error {
		err := r.publish(p.Name, next, ds)
		published = err == nil
		return err
	})
	if err != nil {
		if published {
			err = errors.Join(err, r.publish(p.Name, o, o.plugin.Types()))
		}
		return err
	}
	r.tell(p.Name, "upgrade")
	return nil
}

// Unload takes a plugin out. It is ErrInUse while something configured uses
// it; with force, that answers ErrUnavailable until the configuration changes.
func (r *Registry) Unload(name string, force bool) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	o := r.origin(name)
	if o == nil {
		return ErrNotFound
	}
	if users := o.plugin.Users(); len(users) > 0 && !force {
		return fmt.Errorf("plugin %q is %w by %s", name, ErrInUse, strings.Join(users, ", "))
	}
	drain := time.Duration(o.spec.Drain)
	if force {
		drain = 0
	}
	r.unload(name, o, drain)
	return nil
}

func (r *Registry) unload(name string, o *origin, drain time.Duration) {
	r.mu.Lock()
	r.remove(name)
	delete(r.origins, name)
	r.mu.Unlock()
	o.plugin.Close(drain)
	r.tell(name, "unload")
}

// Plugins says how each loaded plugin is, by name.
func (r *Registry) Plugins() []Status {
	r.mu.RLock()
	list := make([]*origin, 0, len(r.origins))
	for _, o := range r.origins {
		list = append(list, o)
	}
	r.mu.RUnlock()
	var out []Status
	for _, o := range list {
		s := o.plugin.Status()
		s.Generation = o.generation
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Epoch tells one load of a type from another: 0 in the tree. An upgrade keeps
// it, since instances go over; an instance of another epoch is another one.
func (r *Registry) Epoch(k framework.Kind, typ string) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if o := r.origins[r.byName[key{k, typ}].Origin]; o != nil {
		return o.epoch
	}
	return 0
}

// Apply makes the loaded plugins those of list, but unloads none: what is new
// is loaded, what changed is upgraded. There is an error for each entry, nil
// where it went well.
func (r *Registry) Apply(ctx context.Context, list []configs.Plugin) []error {
	r.changing.Lock()
	defer r.changing.Unlock()
	errs := make([]error, len(list))
	for i, p := range list {
		switch o := r.origin(p.Name); {
		case o == nil:
			errs[i] = r.load(ctx, p)
		case !same(o.spec, p) || o.plugin.Status().State == Failed:
			errs[i] = r.upgrade(ctx, o, p)
		}
	}
	return errs
}

// same says whether two entries start the same process.
func same(a, b configs.Plugin) bool {
	return a.Name == b.Name && a.File == b.File && a.SHA256 == b.SHA256 && a.Limits == b.Limits && a.Drain == b.Drain &&
		slices.Equal(a.Args, b.Args) && maps.Equal(a.Env, b.Env)
}

// Keep unloads the plugins that list does not name. Their open flows have the
// time of `drain`.
func (r *Registry) Keep(list []configs.Plugin) {
	r.changing.Lock()
	defer r.changing.Unlock()
	for _, s := range r.Plugins() {
		if !slices.ContainsFunc(list, func(p configs.Plugin) bool { return p.Name == s.Name }) {
			o := r.origin(s.Name)
			r.unload(s.Name, o, time.Duration(o.spec.Drain))
		}
	}
}

// Close unloads all plugins and waits for their processes.
func (r *Registry) Close() {
	r.changing.Lock()
	defer r.changing.Unlock()
	for _, s := range r.Plugins() {
		r.unload(s.Name, r.origin(s.Name), 0)
	}
}

// Watch tells of loads, upgrades and unloads until ctx ends; the channel then
// closes. A watcher that does not read misses events.
func (r *Registry) Watch(ctx context.Context) <-chan Event {
	ch := make(chan Event, 16)
	r.mu.Lock()
	r.watch[ch] = true
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watch, ch)
		close(ch)
	})
	return ch
}

func (r *Registry) tell(name, what string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for ch := range r.watch {
		select {
		case ch <- Event{name, what}:
		default:
		}
	}
}

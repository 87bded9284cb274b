package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
)

// fake is a Launcher and the Plugin that it launches: it holds what it is told.
type fake struct {
	types   []framework.Descriptor
	next    []framework.Descriptor // after an upgrade
	users   []string
	refuses error
	closed  bool
}

func (f *fake) Launch(context.Context, configs.Plugin) (Plugin, error) { return f, f.refuses }
func (f *fake) Types() []framework.Descriptor                          { return f.types }
func (f *fake) Users() []string                                        { return f.users }
func (f *fake) Status() Status                                         { return Status{Name: "p", State: Ready} }
func (f *fake) Close(time.Duration)                                    { f.closed = true }
func (f *fake) Upgrade(_ context.Context, _ configs.Plugin, accept func([]framework.Descriptor) error) error {
	if err := accept(f.next); err != nil {
		return err
	}
	if f.refuses == nil {
		f.types = f.next
	}
	return f.refuses
}

func types(names ...string) (ds []framework.Descriptor) {
	for _, n := range names {
		ds = append(ds, framework.NewRule(n, n, nil))
	}
	return ds
}

func loaded(t *testing.T, f *fake) *Registry {
	t.Helper()
	r, err := New(types("TREE")...)
	if err != nil {
		t.Fatal(err)
	}
	r.UseLauncher(f)
	if err := r.Load(t.Context(), configs.Plugin{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	return r
}

func has(r *Registry, typ string) bool {
	_, ok := r.Lookup(framework.KindRule, typ)
	return ok
}

func TestTypesComeAndGoWithTheirPlugin(t *testing.T) {
	t.Parallel()
	f := &fake{types: types("A", "B"), next: types("A", "C")}
	r := loaded(t, f)
	events := r.Watch(t.Context())
	epoch := r.Epoch(framework.KindRule, "A")
	if !has(r, "A") || !has(r, "B") || epoch == 0 || r.Epoch(framework.KindRule, "TREE") != 0 {
		t.Errorf("after the load: %v, epoch %d", r.List(), epoch)
	}

	if err := r.Upgrade(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if !has(r, "C") || has(r, "B") || r.Plugins()[0].Generation != 2 || r.Epoch(framework.KindRule, "A") != epoch {
		t.Errorf("after the upgrade: %v, %+v", r.List(), r.Plugins())
	}
	if e := <-events; e != (Event{"p", "upgrade"}) {
		t.Errorf("got %v", e)
	}

	if err := r.Unload("p", false); err != nil || has(r, "A") || !f.closed {
		t.Errorf("after the unload: %v, %v, closed %v", err, r.List(), f.closed)
	}
	if err := r.Unload("p", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want %v", err, ErrNotFound)
	}
}

func TestTypeThatIsThereAlreadyRefusesThePlugin(t *testing.T) {
	t.Parallel()
	f := &fake{types: types("X", "TREE")}
	r, err := New(types("TREE")...)
	if err != nil {
		t.Fatal(err)
	}
	r.UseLauncher(f)

	err = r.Load(t.Context(), configs.Plugin{Name: "p"})

	if err == nil || !strings.Contains(err.Error(), "in-tree") || has(r, "X") || !f.closed || len(r.Plugins()) != 0 {
		t.Errorf("got %v, %v, closed %v: want both origins named and nothing kept", err, r.List(), f.closed)
	}
}

func TestUpgradeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*fake{
		"late":      {types: types("A"), next: types("B")},
		"duplicate": {types: types("A"), next: types("TREE")},
	} {
		r := loaded(t, f)
		if name == "late" {
			f.refuses = errors.New("an instance does not open")
		}
		if err := r.Upgrade(t.Context(), "p"); err == nil {
			t.Errorf("%s: no error", name)
		}
		if !has(r, "A") || has(r, "B") || !has(r, "TREE") || r.Plugins()[0].Generation != 1 {
			t.Errorf("%s: %v", name, r.List())
		}
	}
}

func TestPluginInUseStays(t *testing.T) {
	t.Parallel()
	f := &fake{types: types("A"), users: []string{`rule "A"`}}
	r := loaded(t, f)
	if err := r.Unload("p", false); !errors.Is(err, ErrInUse) || !has(r, "A") {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	if err := r.Unload("p", true); err != nil || has(r, "A") {
		t.Errorf("by force: %v", err)
	}
}

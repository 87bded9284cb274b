package subproc

import (
	"context"
	"fmt"
	"slices"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
)

// sameTypes refuses an executable that was changed behind our back.
func (p *plugin) sameTypes(proc *process) error {
	if had, has := typeNames(p.remote.Types()), typeNames(p.remote.TypesOf(proc.about)); !slices.Equal(had, has) {
		return fmt.Errorf("the executable was changed: it holds %v, and held %v; upgrade the plugin to take it", has, had)
	}
	return nil
}

func typeNames(ds []framework.Descriptor) []string {
	var out []string
	for _, d := range ds {
		out = append(out, string(d.Kind)+" "+d.Type)
	}
	return out
}

// take is the process that Upgrade has brought; the caller closes taken when it
// is the one in use.
func (p *plugin) take() (next *process, taken chan struct{}) {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	next, p.next = p.next, nil
	return next, p.taken
}

// Upgrade implements registry.Plugin.
func (p *plugin) Upgrade(ctx context.Context, spec configs.Plugin, accept func([]framework.Descriptor) error) error {
	taken, err := p.replace(ctx, spec, accept)
	if err != nil {
		return err
	}
	select {
	case <-taken:
	case <-p.gone:
	}
	return nil
}

// replace starts a process and sends flows to it; taken closes when the one
// before drains.
func (p *plugin) replace(ctx context.Context, spec configs.Plugin, accept func([]framework.Descriptor) error) (taken chan struct{}, err error) {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	select {
	case <-p.quit:
		return nil, fmt.Errorf("plugin %q is unloaded", spec.Name)
	default:
	}
	if p.next != nil {
		return nil, fmt.Errorf("plugin %q: another upgrade is under way", spec.Name)
	}
	next, err := p.l.start(ctx, spec, p.remote, p.journal)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", spec.Name, err)
	}
	if err = p.remote.Check(ctx, next.client, next.about); err == nil {
		err = accept(p.remote.TypesOf(next.about))
	}
	if err == nil {
		err = p.remote.Attach(ctx, next.client, next.about, true)
	}
	if err != nil {
		next.end(p.l.Timing.Farewell)
		return nil, err
	}
	p.mu.Lock()
	p.spec, p.crashes = spec, nil
	p.mu.Unlock()
	p.next, p.taken = next, make(chan struct{})
	select {
	case p.kick <- struct{}{}:
	default: // supervise is to look already
	}
	return p.taken, nil
}

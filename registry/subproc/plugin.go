package subproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/wire"
	"github.com/culvert-proxy/culvert/registry"
)

// plugin is a loaded plugin: one process at a time serves it, others drain.
//
//	stopped ─begin─► starting ─────► ready ─Close─► draining ─► stopped
//	                   ▲  │ error     │ exit, or 3 pings missed
//	                   │  ▼           ▼
//	                  backoff ◄──────┘    0, then 0.5 s · 2ⁿ ≤ 30 s, ±20 %; from 0 again after 60 s in ready
//	                   │ 5 crashes in 60 s
//	                   ▼
//	                  failed ─Upgrade─► ready
//
// The first start after a calm minute does not wait: a plugin that crashes once
// is back at once.
type plugin struct {
	l       *Launcher
	log     *slog.Logger
	remote  *wire.Remote
	journal *journal

	quit  chan struct{} // closes when Close begins
	gone  chan struct{} // closes when nothing runs any more
	kick  chan struct{} // holds a token when next is set
	close sync.Once
	cut   chan struct{} // closes when draining is to end
	cutIt sync.Once
	tasks sync.WaitGroup // drains

	attaching sync.Mutex // held while a process is started and attached; guards next
	next      *process
	taken     chan struct{} // closes when next was taken

	mu       sync.Mutex // guards all below
	spec     configs.Plugin
	state    registry.State
	since    time.Time
	running  *process
	restarts uint64
	draining int
	last     string // why the process before ended
	crashes  []time.Time
	drain    time.Duration // of Close
}

// errUpgraded says that there is another process already.
var errUpgraded = errors.New("upgraded meanwhile")

func newPlugin(l *Launcher, spec configs.Plugin) *plugin {
	log := l.Log.With("plugin", spec.Name)
	return &plugin{l: l, log: log, remote: wire.NewRemote(spec.Name, l.Log), journal: &journal{log: log}, spec: spec, state: registry.Stopped,
		quit: make(chan struct{}), gone: make(chan struct{}), kick: make(chan struct{}, 1), cut: make(chan struct{})}
}

func (p *plugin) set(s registry.State, proc *process) {
	p.mu.Lock()
	was := p.state
	p.state, p.running = s, proc
	if was != s {
		p.since = time.Now()
	}
	p.mu.Unlock()
	if was != s {
		p.log.Info("plugin "+string(s), "pid", pidOf(proc))
	}
}

func pidOf(proc *process) int {
	if proc == nil || proc.runner == nil {
		return 0
	}
	return proc.runner.pid()
}

// begin makes the first start; it is tried once.
func (p *plugin) begin(ctx context.Context) error {
	p.set(registry.Starting, nil)
	proc, err := p.l.start(ctx, p.spec, p.remote, p.journal)
	if err == nil {
		if err = p.remote.Attach(ctx, proc.client, proc.about, true); err != nil {
			proc.end(p.l.Timing.Farewell)
		}
	}
	if err != nil {
		p.set(registry.Failed, nil)
		close(p.gone)
		return fmt.Errorf("plugin %q: %w", p.spec.Name, err)
	}
	if missing := proc.runner.missing; len(missing) > 0 {
		p.log.Warn("the process runs without some protections", "missing", strings.Join(missing, ", "))
	}
	p.set(registry.Ready, proc)
	go p.supervise(proc) // ends with Close
	return nil
}

// supervise follows the life of the plugin.
func (p *plugin) supervise(proc *process) {
	defer close(p.gone)
	for {
		var why string
		select {
		case <-p.quit:
			p.finish(proc)
			return
		case <-p.kick:
			if next, taken := p.take(); next != nil {
				p.retire(proc)
				proc = next
				p.set(registry.Ready, proc)
				close(taken)
			}
			continue
		case <-exited(proc):
			why = fmt.Sprintf("the process ended: %v", proc.runner.state)
		case <-hung(proc):
			why = "the process did not answer three pings"
		}
		began := proc.began
		p.remote.Detach(proc.client)
		p.set(registry.Backoff, nil)
		proc.end(0)
		proc = p.again(why, began)
	}
}

func exited(proc *process) <-chan struct{} {
	if proc == nil {
		return nil
	}
	return proc.runner.exited
}

func hung(proc *process) <-chan struct{} {
	if proc == nil {
		return nil
	}
	return proc.hung
}

// again starts a process after one that ended, as often as it takes. It is nil
// when that is given up, or Close or Upgrade came between.
func (p *plugin) again(why string, began time.Time) *process {
	row := 0
	for {
		wait, failed := p.crashed(why, began, &row)
		p.log.Error("the plugin's process is gone", "err", why, "again_in", wait.Round(time.Millisecond), "failed", failed)
		if failed {
			p.set(registry.Failed, nil)
			return nil
		}
		if !p.pause(wait) {
			return nil
		}
		proc, err := p.restart()
		if err == nil || errors.Is(err, errUpgraded) {
			return proc
		}
		why, began = err.Error(), time.Now()
		p.set(registry.Backoff, nil)
	}
}

// pause waits, and is false when something else is to be done.
func (p *plugin) pause(wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.quit:
		return false
	case <-p.kick:
		select {
		case p.kick <- struct{}{}: // supervise takes it
		default:
		}
		return false
	}
}

// crashed notes a crash and says how long to wait, or that it is enough.
func (p *plugin) crashed(why string, began time.Time, row *int) (wait time.Duration, failed bool) {
	t := p.l.Timing
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.last = why
	if now.Sub(began) >= t.Calm {
		p.crashes = nil
	}
	p.crashes = append(slices.DeleteFunc(p.crashes, func(at time.Time) bool { return now.Sub(at) > t.Window }), now)
	if len(p.crashes) >= t.Crashes {
		return 0, true
	}
	*row = max(*row+1, len(p.crashes))
	if *row == 1 {
		return 0, false
	}
	wait = min(t.Backoff<<min(*row-2, 16), t.Longest)
	return time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64())), false
}

// restart starts the process again and opens all instances in it.
func (p *plugin) restart() (*process, error) {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if p.next != nil {
		return nil, errUpgraded
	}
	p.set(registry.Starting, nil)
	p.mu.Lock()
	spec := p.spec
	p.restarts++
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*p.l.Timing.Start)
	defer cancel()
	proc, err := p.l.start(ctx, spec, p.remote, p.journal)
	if err != nil {
		return nil, err
	}
	if err := p.sameTypes(proc); err != nil {
		proc.end(p.l.Timing.Farewell)
		return nil, err
	}
	p.remote.Attach(ctx, proc.client, proc.about, false) // tells of each instance that does not open
	p.set(registry.Ready, proc)
	return proc, nil
}

// retire lets a process that was replaced drain.
func (p *plugin) retire(proc *process) {
	if proc == nil {
		return
	}
	p.mu.Lock()
	p.draining++
	wait := time.Duration(p.spec.Drain)
	p.mu.Unlock()
	p.tasks.Go(func() { // ends with the process's last flow, the drain, or Close
		p.await(proc, wait)
		p.remote.Detach(proc.client)
		proc.end(p.l.Timing.Farewell)
		p.mu.Lock()
		p.draining--
		p.mu.Unlock()
	})
}

// await waits until a process has drained, at most for wait.
func (p *plugin) await(proc *process, wait time.Duration) {
	if proc.drain() != nil {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-proc.runner.exited:
	case <-proc.hung:
	case <-p.cut:
	case <-t.C:
		p.log.Warn("flows are cut: the time to drain has passed", "drain", wait)
	}
}

// finish ends the plugin.
func (p *plugin) finish(proc *process) {
	p.mu.Lock()
	wait := p.drain
	p.mu.Unlock()
	p.set(registry.Draining, proc)
	if next, taken := p.take(); next != nil {
		p.retire(proc)
		proc = next
		close(taken)
	}
	if proc != nil {
		if wait > 0 {
			p.await(proc, wait)
		}
		p.remote.Detach(proc.client)
		proc.end(p.l.Timing.Farewell)
	}
	p.tasks.Wait()
	p.set(registry.Stopped, nil)
}

// Close implements registry.Plugin.
func (p *plugin) Close(drain time.Duration) {
	p.close.Do(func() {
		p.mu.Lock()
		p.drain = drain
		p.mu.Unlock()
		close(p.quit)
		go func() { // ends when supervise has
			<-p.gone
			p.remote.Close()
			p.l.forget(p)
		}()
	})
	if drain > 0 {
		return
	}
	p.cutIt.Do(func() { close(p.cut) })
	<-p.gone
	p.remote.Close()
	p.l.forget(p)
}

// Types implements registry.Plugin.
func (p *plugin) Types() []framework.Descriptor { return p.remote.Types() }

// Users implements registry.Plugin.
func (p *plugin) Users() []string { return p.remote.Names() }

// Status implements registry.Plugin.
func (p *plugin) Status() registry.Status {
	types, users, version, trace := typeNames(p.remote.Types()), p.remote.Names(), p.remote.Version(), p.journal.last()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := registry.Status{Name: p.spec.Name, Path: p.spec.Path, State: p.state, Since: p.since, Version: version, PID: pidOf(p.running),
		Restarts: p.restarts, Draining: p.draining, LastError: p.last, Trace: trace, Types: types, Users: users}
	if p.running != nil {
		s.Missing = slices.Clone(p.running.runner.missing)
	}
	return s
}

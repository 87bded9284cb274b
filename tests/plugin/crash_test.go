package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/registry/subproc"
)

// always never gives up and never waits: what it measures is the restart.
func always() subproc.Timing { return subproc.Timing{Crashes: 1 << 30, Calm: 1, Window: 1} }

// TestKilledPluginTouchesNoOtherFlow kills a plugin again and again while
// flows of another outbound go on and flows of its own are opened.
func TestKilledPluginTouchesNoOtherFlow(t *testing.T) {
	kills, others := 100, 200
	if testing.Short() {
		kills, others = 10, 50
	}
	own, foreign := echo(t), echo(t)
	before := descriptors(t)
	in := newInside(t, always(), fmt.Sprintf(`
plugins: [{path: faulty}]
proxies: [{name: out, type: faulty}]
rules: ['DST-PORT,%d,out', 'MATCH,DIRECT']
`, own.Port()))
	var l load
	l.begin(t, in.port, own, foreign, others)

	var took []time.Duration
	for range kills {
		pid := in.plugin(t).PID
		began := time.Now()
		syscall.Kill(pid, syscall.SIGKILL)
		eventually(t, 20*time.Second, func() error {
			if s := in.plugin(t); s.PID == pid || s.State != registry.Ready {
				return fmt.Errorf("is %+v", s)
			}
			return flow(in.port, own)
		})
		took = append(took, time.Since(began))
	}
	l.end()

	slices.Sort(took)
	t.Logf("%d kills: back after %v p50, %v p99; %d echoes of %d others, %d flows of its own", kills, took[len(took)/2], took[len(took)*99/100], l.moved.Load(), others, l.opened.Load())
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d flows of another outbound were affected", n, others)
	}
	if p50 := took[len(took)/2]; p50 > 500*time.Millisecond {
		t.Errorf("back after %v, want 500 ms", p50)
	}
	if in.plugin(t).Restarts != uint64(kills) {
		t.Errorf("%d restarts after %d kills", in.plugin(t).Restarts, kills)
	}
	in.close(t)
	eventually(t, 10*time.Second, func() error {
		if after := descriptors(t); after > before {
			return fmt.Errorf("%d descriptors, %d before", after, before)
		}
		return nil
	})
}

// load is flows of another outbound that stay open, and 50 new flows a second
// on the plugin, most of which meet a kill.
type load struct {
	stop                  chan struct{}
	users                 sync.WaitGroup
	moved, failed, opened atomic.Int64
}

func (l *load) begin(t *testing.T, port int, own, foreign netip.AddrPort, others int) {
	t.Helper()
	l.stop = make(chan struct{})
	for range others {
		c, err := connect(port, foreign)
		if err != nil {
			t.Fatal(err)
		}
		l.users.Go(func() { // ends with stop
			defer c.Close()
			l.every(20*time.Millisecond, func() bool {
				if echoed(c, "still here") != nil {
					l.failed.Add(1)
					return false
				}
				l.moved.Add(1)
				return true
			})
		})
	}
	l.users.Go(func() { // ends with stop
		l.every(20*time.Millisecond, func() bool {
			if flow(port, own) == nil {
				l.opened.Add(1)
			}
			return true
		})
	})
}

// every calls f until it is false or the load ends.
func (l *load) every(d time.Duration, f func() bool) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			if !f() {
				return
			}
		}
	}
}

func (l *load) end() {
	close(l.stop)
	l.users.Wait()
}

// TestUpgradesUnderLoadBreakNoFlow upgrades while flows open, and others stay
// open across all of it.
func TestUpgradesUnderLoadBreakNoFlow(t *testing.T) {
	t.Parallel()
	upgrades := 20
	if testing.Short() {
		upgrades = 4
	}
	to := echo(t)
	in := newInside(t, subproc.Timing{}, "plugins: [{path: faulty}]\nproxies: [{name: out, type: faulty}]\nrules: ['MATCH,out']\n")
	defer in.close(t)
	kept, err := connect(in.port, to)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	stop := make(chan struct{})
	var users sync.WaitGroup
	var broken, whole atomic.Int64
	for range 4 {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := flow(in.port, to); err != nil {
					t.Log(err)
					broken.Add(1)
				} else {
					whole.Add(1)
				}
			}
		})
	}

	for i := range upgrades {
		if err := in.Upgrade(t.Context(), "faulty"); err != nil {
			t.Errorf("upgrade %d: %v", i, err)
		}
		if err := echoed(kept, "still here"); err != nil {
			t.Errorf("the open flow after upgrade %d: %v", i, err)
		}
	}
	close(stop)
	users.Wait()

	if broken.Load() > 0 || whole.Load() == 0 {
		t.Errorf("%d flows broke and %d did not", broken.Load(), whole.Load())
	}
	t.Logf("%d upgrades, %d flows", upgrades, whole.Load())
	if got := in.plugin(t).Generation; got != upgrades+1 {
		t.Errorf("generation %d, want %d", got, upgrades+1)
	}
}

// TestUpgradeThatRefusesTheConfigurationLeavesTheOldOneServing changes the
// environment so that the process starts as another version.
func TestUpgradeThatRefusesTheConfigurationLeavesTheOldOneServing(t *testing.T) {
	t.Parallel()
	to := echo(t)
	in := newInside(t, subproc.Timing{}, "plugins: [{path: faulty}]\nproxies:\n  - name: out\n    type: faulty\n    word: old\nrules: ['MATCH,out']\n")
	defer in.close(t)
	pid := in.plugin(t).PID

	err := in.apply("plugins: [{path: faulty, env: {FAULT: picky}}]\nproxies:\n  - name: out\n    type: faulty\n    word: old\nrules: ['MATCH,out']\n")

	want := `config.yaml:6:11: proxies[0] "out" (faulty): word: this version wants "new"`
	if err == nil || !containsAll(err.Error(), want, "config.yaml:2:18: plugins[0].path: the plugin stays as it is") {
		t.Errorf("got %v, want %s", err, want)
	}
	if s := in.plugin(t); s.PID != pid || s.State != registry.Ready {
		t.Errorf("got %+v, want process %d", s, pid)
	}
	if err := flow(in.port, to); err != nil {
		t.Error(err)
	}
}

// TestUnloadIsRefusedWhileInUse: with force, dials fail at once.
func TestUnloadIsRefusedWhileInUse(t *testing.T) {
	t.Parallel()
	to := echo(t)
	config := "plugins: [{path: faulty}]\nproxies: [{name: out, type: faulty}]\nrules: ['MATCH,out']\n"
	in := newInside(t, subproc.Timing{}, config)
	defer in.close(t)

	if err := in.Unload("faulty", false); !errors.Is(err, registry.ErrInUse) || !containsAll(err.Error(), `outbound "out"`) {
		t.Errorf("got %v, want %v and the name", err, registry.ErrInUse)
	}
	pid := in.plugin(t).PID
	if err := in.Unload("faulty", true); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("process %d is there", pid)
	}
	if err := flow(in.port, to); err == nil {
		t.Error("a flow goes through a plugin that is unloaded")
	}
	if err := in.apply(config); err != nil {
		t.Fatal(err)
	}
	if err := flow(in.port, to); err != nil {
		t.Errorf("after a reload: %v", err)
	}
}

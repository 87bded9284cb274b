package conformance

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Result is how one check went.
type Result struct {
	Name    string   // the way and the check: "wire/stream/deadlines are kept"
	Faults  []string // what is wrong; empty when all is well
	Skipped string   // why the check says nothing, "" when it does
	Notes   []string // the speed report
}

// pace is how patient a run is.
type pace struct {
	whole  time.Duration // for a check
	step   time.Duration // for what should take no time
	settle time.Duration // for goroutines and sockets to go after Close
}

// usual is ten times what the longest check and step take on a busy machine.
var usual = pace{whole: time.Minute, step: 10 * time.Second, settle: 3 * time.Second}

// trial is one run of one check. Its methods are safe for concurrent use;
// fatalf and skipf are for the check's own goroutine.
type trial struct {
	*subject
	d    framework.Descriptor // as the way under trial shows it
	host *host

	mu       sync.Mutex // guards below
	faults   []string
	notes    []string
	skipped  string
	cleanups []func()
}

// stopped is what fatalf and skipf panic with.
type stopped struct{}

func (t *trial) errorf(format string, a ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fmt.Sprintf(format, a...))
}

func (t *trial) fatalf(format string, a ...any) {
	t.errorf(format, a...)
	panic(stopped{})
}

func (t *trial) skipf(format string, a ...any) {
	t.mu.Lock()
	t.skipped = fmt.Sprintf(format, a...)
	t.mu.Unlock()
	panic(stopped{})
}

func (t *trial) notef(format string, a ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes = append(t.notes, fmt.Sprintf(format, a...))
}

// cleanup calls f at the end of the check, the last one first.
func (t *trial) cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

// context is one that ends the check's waits.
func (t *trial) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), t.pace.step)
	t.cleanup(cancel)
	return ctx
}

// guard notes a panic as a fault. It is deferred.
func (t *trial) guard() {
	switch r := recover(); r.(type) {
	case nil, stopped:
	default:
		t.errorf("panic: %v\n%s", r, debug.Stack())
	}
}

// within runs f in a goroutine of its own and says whether it returned in time.
func (t *trial) within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { // ends with f
		defer close(done)
		defer t.guard()
		f()
	}()
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-done:
		return true
	case <-late.C:
		return false
	}
}

// trials numbers the runs, for the labels of their goroutines.
var trials atomic.Uint64

// perform runs one check in one way and looks at what it left behind.
func (s *subject) perform(w way, c check) Result {
	t := &trial{subject: s}
	t.host = newHost(t)
	label := strconv.FormatUint(trials.Add(1), 10)
	ended := make(chan struct{})
	go pprof.Do(context.Background(), pprof.Labels("conformance", label), func(context.Context) { // ends with the check
		defer close(ended)
		defer t.clean()
		defer t.guard()
		t.d = w.open(t)
		c.run(t)
	})
	late := time.NewTimer(s.pace.whole)
	defer late.Stop()
	select {
	case <-ended:
		t.leftovers(label)
	case <-late.C:
		t.errorf("the check hangs:\n%s", stacks(label))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return Result{Name: w.name + "/" + c.name, Faults: t.faults, Skipped: t.skipped, Notes: t.notes}
}

func (t *trial) clean() {
	for {
		t.mu.Lock()
		n := len(t.cleanups)
		if n == 0 {
			t.mu.Unlock()
			return
		}
		f := t.cleanups[n-1]
		t.cleanups = t.cleanups[:n-1]
		t.mu.Unlock()
		func() {
			defer t.guard()
			f()
		}()
	}
}

// leftovers waits for the goroutines that the check started, and for the
// sockets that the plugin got from the host. Goroutines inherit the label of
// the one that starts them, so other tests may run meanwhile.
func (t *trial) leftovers(label string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(t.pace.settle)
	defer late.Stop()
	for {
		left, open := stacks(label), t.host.open()
		if left == "" && open == 0 {
			return
		}
		select {
		case <-tick.C:
			continue
		case <-late.C:
		}
		if left != "" {
			t.errorf("goroutines are left behind:\n%s", left)
		}
		if open > 0 {
			t.errorf("%d sockets from Host.Dialer are left open", open)
		}
		return
	}
}

// stacks are those of the goroutines with a label.
func stacks(label string) string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return err.Error()
	}
	var out []string
	mark := fmt.Sprintf(`"conformance":%q`, label)
	for _, one := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(one, mark) {
			out = append(out, one)
		}
	}
	return strings.Join(out, "\n\n")
}

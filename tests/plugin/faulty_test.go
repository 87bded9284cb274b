package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/registry/subproc"
	"github.com/culvert-proxy/culvert/tests/require"
)

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// bad is a kernel with the faulty plugin; env is its environment.
func bad(t *testing.T, timing subproc.Timing, env string) *inside {
	t.Helper()
	in := newInside(t, timing, fmt.Sprintf("plugins: [{path: faulty, drain: 300ms, env: {%s}}]\nproxies: [{name: out, type: faulty}]\nrules: ['MATCH,out']\n", env))
	t.Cleanup(func() { in.close(t) })
	return in
}

// dial dials through the plugin with a deadline.
func dial(in *inside, p uint16, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := in.Through("out").DialStream(ctx, framework.Addr{Host: "faulty.test", Port: p})
	if err == nil {
		c.Close()
	}
	return err
}

func TestPluginThatExitsInADialIsStartedAgain(t *testing.T) {
	t.Parallel()
	in, to := bad(t, subproc.Timing{}, ""), echo(t)
	err := dial(in, 1, 5*time.Second)
	if framework.Classify(err) != framework.ErrUnavailable {
		t.Errorf("got %v, want class %v", err, framework.ErrUnavailable)
	}
	eventually(t, 5*time.Second, func() error { return flow(in.port, to) })
	if s := in.plugin(t); s.Restarts != 1 || !strings.Contains(s.LastError, "exit status 7") {
		t.Errorf("got %+v", s)
	}
}

func TestPanicOfAPluginIsKept(t *testing.T) {
	t.Parallel()
	in := bad(t, subproc.Timing{}, "")
	dial(in, 3, 5*time.Second)
	eventually(t, 5*time.Second, func() error {
		if s := in.plugin(t); s.Restarts != 1 || !containsAll(s.Trace, "panic: faulty on request", "goroutine", "main.go") {
			return fmt.Errorf("got %+v", s)
		}
		return nil
	})
}

func TestPluginThatHangsIsFoundInThreeSeconds(t *testing.T) {
	t.Parallel()
	in, to := bad(t, subproc.Timing{}, ""), echo(t)
	pid, began := in.plugin(t).PID, time.Now()
	go dial(in, 2, 5*time.Second) // ends with the process
	eventually(t, 10*time.Second, func() error {
		if s := in.plugin(t); s.PID == pid || s.State != registry.Ready {
			return fmt.Errorf("got %+v", s)
		}
		return nil
	})
	if took := time.Since(began); took > 3500*time.Millisecond {
		t.Errorf("back after %v, want found in 3 s", took)
	}
	if err := flow(in.port, to); err != nil {
		t.Error(err)
	}
}

func TestDialThatNeverEndsCostsItsOwnFlowOnly(t *testing.T) {
	t.Parallel()
	in, to := bad(t, subproc.Timing{}, ""), echo(t)
	began := time.Now()
	err := dial(in, 6, 200*time.Millisecond)
	if framework.Classify(err) != framework.ErrTimeout || time.Since(began) > 2*time.Second {
		t.Errorf("got %v after %v, want class %v in time", err, time.Since(began), framework.ErrTimeout)
	}
	if err := flow(in.port, to); err != nil {
		t.Error(err)
	}
}

func TestLogFloodIsHeldBack(t *testing.T) {
	t.Parallel()
	in, to := bad(t, subproc.Timing{}, ""), echo(t)
	dial(in, 4, 5*time.Second)
	for range 50 {
		if err := flow(in.port, to); err != nil {
			t.Fatal(err)
		}
	}
	if s := in.plugin(t); s.State != registry.Ready || s.Restarts != 0 {
		t.Errorf("got %+v, want a plugin that serves on", s)
	}
}

func TestChildrenOfAPluginEndWithIt(t *testing.T) {
	t.Parallel()
	in := bad(t, subproc.Timing{}, "")
	err := dial(in, 5, 5*time.Second)
	var child int
	if err == nil {
		t.Fatal("the dial worked")
	}
	if _, scan := fmt.Sscanf(err.Error(), "child %d", &child); scan != nil || !alive(child) {
		t.Fatalf("got %v, want the id of a child", err)
	}
	dial(in, 1, 5*time.Second)
	eventually(t, 5*time.Second, func() error {
		if alive(child) {
			return fmt.Errorf("process %d is there", child)
		}
		return nil
	})
}

func TestGarbageOnTheDataSocketIsAnError(t *testing.T) {
	t.Parallel()
	in := bad(t, subproc.Timing{}, "FAULT: garbage")
	for range 20 {
		err := dial(in, 80, 5*time.Second)
		if c := framework.Classify(err); c != framework.ErrProtocol && c != framework.ErrUnavailable && err == nil {
			t.Fatalf("got %v, want an error", err)
		}
	}
	if s := in.plugin(t); s.State != registry.Ready {
		t.Errorf("got %+v", s)
	}
}

// TestProcessThatIgnoresDrainIsEnded keeps a flow open in a process that is
// replaced: it has the time of drain, here 300 ms.
func TestProcessThatIgnoresDrainIsEnded(t *testing.T) {
	t.Parallel()
	in := bad(t, subproc.Timing{}, "")
	c, err := in.Through("out").DialStream(t.Context(), framework.Addr{Host: "faulty.test", Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := in.plugin(t).PID
	if err := in.Upgrade(t.Context(), "faulty"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		if s := in.plugin(t); s.Draining > 0 || alive(pid) {
			return fmt.Errorf("process %d: %+v", pid, s)
		}
		return nil
	})
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Error("the flow goes on without its process")
	}
}

// TestBadDescriptionsAreRefused: nothing of such a plugin is visible, and the
// configuration in force stays.
func TestBadDescriptionsAreRefused(t *testing.T) {
	t.Parallel()
	in := newInside(t, subproc.Timing{Start: 3 * time.Second}, "mode: direct\n")
	defer in.close(t)
	for fault, want := range map[string]string{
		"schema":   "longer than 4194304 bytes",
		"requires": `requires "teleport", which this kernel does not offer: upgrade the kernel`,
		"kind":     "is no name of a type",
		"slow":     "did not say hello within 3s",
	} {
		err := in.apply(fmt.Sprintf("plugins: [{path: faulty, env: {FAULT: %s}}]\n", fault))
		if err == nil || !containsAll(err.Error(), want, "config.yaml:2:18: plugins[0].path: ") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: got %v, want %s", fault, err, want)
		}
		if n := len(in.Plugins()); n != 0 {
			t.Errorf("%s: %d plugins are loaded", fault, n)
		}
	}
}

// TestKernelThatIsKilledLeavesNoProcess kills the binary with a signal that it
// cannot answer; what it leaves of sockets, the next one sweeps.
func TestKernelThatIsKilledLeavesNoProcess(t *testing.T) {
	t.Parallel()
	k := start(t, "plugins: [{path: plugins/faulty}, {path: plugins/peer}]\n")
	pids := []int{k.plugin(t, "faulty").PID, k.plugin(t, "peer").PID}
	k.Cmd.Process.Kill()
	eventually(t, time.Second, func() error {
		for _, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("process %d is there", pid)
			}
		}
		return nil
	})
	k.Wait()

	next := start(t, "plugins: [{path: plugins/faulty}]\n")
	if !strings.Contains(next.Output(), "the sockets of a kernel that is gone are removed") {
		left, _ := filepath.Glob(filepath.Join(os.TempDir(), "culvert-sockets-*"))
		t.Logf("another test has swept them, or they are there: %v", left)
	}
}

// TestProcessHasNothingOfTheKernels looks at a process from outside.
func TestProcessHasNothingOfTheKernels(t *testing.T) {
	t.Parallel()
	k := start(t, "plugins: [{path: plugins/faulty, env: {WORD: secret}, limits: {memory: 512, files: 256}}]\n")
	dir := fmt.Sprintf("/proc/%d/", k.plugin(t, "faulty").PID)
	env, err := os.ReadFile(dir + "environ")
	if err != nil {
		require.That(t, false, "/proc")
	}
	for _, e := range strings.Split(strings.TrimSuffix(string(env), "\x00"), "\x00") {
		if !strings.HasPrefix(e, "PLUGIN_") && !strings.HasPrefix(e, "CULVERT_PLUGIN") && e != "WORD=secret" {
			t.Errorf("its environment has %s", e)
		}
	}
	status, _ := os.ReadFile(dir + "status")
	if !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Error("it may gain privileges")
	}
	limits, _ := os.ReadFile(dir + "limits")
	for _, want := range []string{"Max open files            256", "Max data size             536870912", "Max core file size        0"} {
		if !strings.Contains(string(limits), want) {
			t.Errorf("limits lack %q:\n%s", want, limits)
		}
	}
	kernel, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.Cmd.Process.Pid))
	if !strings.Contains(string(kernel), "NoNewPrivs:\t0") {
		t.Error("the kernel lost its privileges too")
	}
}

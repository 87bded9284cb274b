// Package soak_test reloads a running kernel, again and again and in all ways
// that there are, under flows that stay and flows that come, and looks for one
// that noticed.
package soak_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// size is how much is done.
type size struct {
	flows, sessions, reloads int
}

const (
	reloadEach  = 100 * time.Millisecond
	connectEach = 10 * time.Millisecond
	messageEach = 100 * time.Millisecond
)

// It runs alone: it measures what the process holds and how long reloads take.
func TestReloadsUnderLoadAreNotNoticed(t *testing.T) {
	s := size{flows: 500, sessions: 20, reloads: 200}
	if testing.Short() {
		s = size{flows: 200, sessions: 8, reloads: 50}
	}
	w := newWorld(t)
	c := harness.Start(t, w.document(0))
	w.warmUp(t)
	before := usageOf(t, c)

	load := &load{world: w, stop: make(chan struct{})}
	load.open(t, s)
	during := usageOf(t, c)
	var durations []time.Duration
	pace := time.NewTicker(reloadEach)
	defer pace.Stop()
	began := time.Now()
	for i := range s.reloads {
		<-pace.C
		if d, ok := w.reload(t, c, i+1); ok {
			durations = append(durations, d)
		}
	}
	took := time.Since(began)
	load.finish(t)
	if status, body := c.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"payload": w.filled(c, 0)}); status != http.StatusNoContent {
		t.Errorf("last reload: %d %s", status, body)
	}
	after := settled(t, c, before)

	slices.Sort(durations)
	t.Logf("%d flows and %d sessions open, %d new flows, %d reloads in %v: %d refused, %d broken; datagrams: %d sent, %d sent again, %d lost",
		s.flows, s.sessions, load.connects.Load(), s.reloads, took.Round(time.Millisecond), load.refused.Load(), load.broken.Load(),
		load.datagrams.Load(), load.again.Load(), load.lost.Load())
	t.Logf("PUT and PATCH: p50 %v, p99 %v", durations[len(durations)/2], durations[len(durations)*99/100])
	t.Logf("before %v, with all flows open %v, after %v", before, during, after)
	if out := c.Output(); strings.Contains(out, "panic") || strings.Contains(out, "level=ERROR") {
		t.Error("the kernel logged an error")
	}
	if load.refused.Load()+load.broken.Load()+load.lost.Load() > 0 {
		t.Error("somebody noticed")
	}
}

// reload puts the document of a step in force, each in another way.
func (w *world) reload(t *testing.T, c *harness.Culvert, step int) (took time.Duration, ok bool) {
	t.Helper()
	text := w.filled(c, step)
	file := filepath.Join(c.Home, "other.yaml")
	began := time.Now()
	var status int
	var body []byte
	switch step % 5 {
	case 0:
		status, body = c.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"payload": text})
	case 1:
		replace(t, file, text)
		status, body = c.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"path": file})
	case 2:
		status, body = c.Call(t, http.MethodPut, "/configs", map[string]string{"payload": text})
	case 3:
		replace(t, c.File, text)
		if err := c.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		return 0, false
	case 4:
		status, body = c.Call(t, http.MethodPatch, "/configs", map[string]any{"allow-lan": step%2 == 0, "mode": "rule"})
	}
	if status != http.StatusNoContent {
		t.Errorf("reload %d: %d %s", step, status, body)
	}
	return time.Since(began), true
}

// replace writes a file so that a reader never sees half of it.
func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

// usage is what a process holds.
type usage struct{ descriptors, goroutines, rssKiB int }

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d KiB", u.descriptors, u.goroutines, u.rssKiB)
}

func usageOf(t *testing.T, c *harness.Culvert) (u usage) {
	t.Helper()
	if status, _ := c.Call(t, http.MethodPut, "/debug/gc", nil); status != http.StatusOK {
		t.Fatalf("gc: %d", status)
	}
	_, profile := c.Call(t, http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
	if _, err := fmt.Sscanf(string(profile), "goroutine profile: total %d", &u.goroutines); err != nil {
		t.Fatalf("%v: %.100s", err, profile)
	}
	if runtime.GOOS != "linux" {
		return u
	}
	proc := fmt.Sprintf("/proc/%d/", c.Cmd.Process.Pid)
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	u.descriptors = len(open)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := bytes.Cut(status, []byte("VmRSS:"))
	if u.rssKiB, err = strconv.Atoi(strings.Fields(string(rss))[0]); err != nil {
		t.Fatal(err)
	}
	return u
}

// settled waits until the process holds about what it held before.
func settled(t *testing.T, c *harness.Culvert, before usage) (u usage) {
	t.Helper()
	c.Call(t, http.MethodDelete, "/connections", nil) // UDP would idle for a minute
	c.Until("the kernel holds more than before", func() error {
		u = usageOf(t, c)
		if u.descriptors > before.descriptors+slackDescriptors || u.goroutines > before.goroutines+slackGoroutines || u.rssKiB > before.rssKiB+slackKiB {
			return fmt.Errorf("holds %v, held %v", u, before)
		}
		return nil
	})
	return u
}

// What may remain, chosen: connections of the test's own HTTP client, the pools
// and maps that grew with the flows, and the goroutines that each inbound keeps
// for the next connection, 16 at most.
const (
	slackDescriptors = 4
	slackGoroutines  = 6 + 6*16
	slackKiB         = 24 << 10
)

// workers run until they are told to stop.
type workers struct{ all sync.WaitGroup }

// finished waits for all of them.
func (w *workers) finished(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with the workers
		w.all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(harness.Patience):
		t.Fatal("flows do not end")
	}
}

package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	fw "github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/registry/subproc"
	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// inside is a kernel in the test's own process, for what the binary's
// patience would make slow.
type inside struct {
	*fw.Kernel
	*registry.Registry
	launcher *subproc.Launcher
	port     int
	home     string
	temp     string // where the sockets are
}

// newInside starts one; timing replaces the defaults of supervision. The test
// calls close, which fails when something is left.
func newInside(t testing.TB, timing subproc.Timing, config string) *inside {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	in := &inside{home: t.TempDir(), port: harness.Port(t), temp: temp}
	for _, name := range []string{"socks5", "faulty", "acme"} {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(in.home, name)); err != nil {
			t.Fatal(err)
		}
	}
	if in.Registry, err = registry.New(plugins.All()...); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	in.launcher = subproc.New(subproc.Config{Home: in.home, Log: log, Timing: timing, Temp: temp})
	in.UseLauncher(in.launcher)
	in.Kernel = fw.New(fw.Config{Home: in.home, Catalog: in.Registry, Plugins: in.Registry, Stats: stats.New(), Log: log, Level: new(slog.LevelVar)})
	if err := in.apply(config); err != nil {
		t.Fatal(err)
	}
	return in
}

// apply puts a configuration in force as a file.
func (in *inside) apply(config string) error {
	file := filepath.Join(in.home, "config.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf("mixed-port: %d\n", in.port)+config), 0o600); err != nil {
		return err
	}
	doc, err := configs.Load(configs.Input{Home: in.home, File: file})
	if err != nil {
		return err
	}
	return in.Kernel.Apply(context.Background(), doc, fw.Options{})
}

// close ends everything and looks for what is left.
func (in *inside) close(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	in.Kernel.Close(ctx)
	in.launcher.Close()
	if left, _ := os.ReadDir(in.temp); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func (in *inside) plugin(t testing.TB) registry.Status {
	t.Helper()
	list := in.Plugins()
	if len(list) != 1 {
		t.Fatalf("%d plugins are loaded", len(list))
	}
	return list[0]
}

// eventually waits until f succeeds.
func eventually(t testing.TB, patience time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("after %v: %v", patience, err)
		case <-tick.C:
		}
	}
}

// descriptors is how many this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		require.That(t, false, "/proc")
	}
	return len(list)
}

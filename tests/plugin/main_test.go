// Package plugin runs the culvert binary with plugin processes, good and bad
// ones, as a user would: executables in the home directory, named in the
// configuration.
package plugin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	harness.Finish(code)
}

// built is a directory with the plugins, built once for a test process.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "culvert-plugins-")
	if err != nil {
		return "", err
	}
	for _, p := range []struct{ in, pkg, out string }{
		{"../..", "./plugins/testdata/socks5", "socks5"},
		{"../..", "./plugins/testdata/faulty", "faulty"},
		{"../../plugins/testdata/acme", "./cmd/acme", "acme"},
		{"../..", "./tests/plugin/testdata/peer", "peer"},
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, p.out), p.pkg)
		cmd.Dir = p.in
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			os.RemoveAll(dir)
			return "", fmt.Errorf("build %s: %w\n%s", p.pkg, err, out)
		}
	}
	return dir, nil
})

// kernel is culvert with plugins in its home directory.
type kernel struct {
	*harness.Culvert
	port int // of the mixed inbound
}

// start runs culvert; %BIN% in config is a directory in the home with the
// plugins, %PORT% the port of the mixed inbound.
func start(t testing.TB, config string) *kernel {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{port: harness.Port(t)}
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "plugins"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"socks5", "faulty", "acme", "peer"} {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(home, "plugins", name)); err != nil {
			t.Fatal(err)
		}
	}
	api := fmt.Sprintf("127.0.0.1:%d", harness.Port(t))
	k.Culvert = &harness.Culvert{Home: home, File: filepath.Join(home, "config.yaml"), API: "http://" + api}
	k.write(t, config)
	k.Process = harness.Run(t, harness.Binary(t), "-d", home, "-f", k.File)
	k.WaitListen(api)
	return k
}

// write replaces the configuration.
func (k *kernel) write(t testing.TB, config string) {
	t.Helper()
	k.Write(t, fmt.Sprintf("mixed-port: %d\nexternal-controller: '%%API%%'\nlog-level: debug\n", k.port)+config)
}

// status is an entry of GET /plugins.
type status struct {
	Name, State, LastError, Trace string
	PID, Generation, Draining     int
	Restarts                      uint64
	Types, Users                  []string
}

func (k *kernel) plugin(t testing.TB, name string) status {
	t.Helper()
	var list struct{ Plugins []status }
	k.Get(t, "/plugins", &list)
	for _, s := range list.Plugins {
		if s.Name == name {
			return s
		}
	}
	return status{}
}

// alive says whether a process runs; one that is only to be reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// Package harness runs the culvert binary, and the programs that it is tested
// against, for black-box tests: it builds once, picks free ports, waits until
// things listen, and leaves no process behind.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds each wait; generous, since CI has two busy cores.
const Patience = 20 * time.Second

// binary is built once for a test process.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "culvert-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "culvert")
	cmd := exec.Command("go", "build", "-o", path, "github.com/culvert-proxy/culvert")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// Main runs the tests and removes the binary: call it from TestMain.
func Main(m *testing.M) { Finish(m.Run()) }

// Finish removes the binary and exits with code: what Main does after the tests.
func Finish(code int) {
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// Binary is the path of culvert.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Environ is the environment without the variables that culvert reads.
func Environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CULVERT_") && !strings.HasPrefix(e, "CLASH_") && !strings.HasPrefix(e, "SAFE_PATHS") {
			env = append(env, e)
		}
	}
	return env
}

// Port is a TCP and UDP port of 127.0.0.1 that was free a moment ago. It is
// below the ports that systems give to clients, so that no connection of
// another test takes it before the program that it is for listens.
func Port(t testing.TB) int {
	t.Helper()
	for range 50 {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// Culvert is a running kernel.
type Culvert struct {
	*Process
	Home   string
	File   string // its configuration file
	API    string // http://127.0.0.1:port
	Secret string
}

// Start runs culvert with a configuration. %API% in it stands for the address
// of the controller, which the configuration must have; %HOME% for the home
// directory. The kernel ends with the test.
func Start(t testing.TB, config string, args ...string) *Culvert {
	t.Helper()
	home := t.TempDir()
	api := fmt.Sprintf("127.0.0.1:%d", Port(t))
	c := &Culvert{Home: home, File: filepath.Join(home, "config.yaml"), API: "http://" + api}
	c.Write(t, strings.NewReplacer("%API%", api, "%HOME%", home).Replace(config))
	c.Process = Run(t, append([]string{Binary(t), "-d", home, "-f", c.File}, args...)...)
	c.Process.WaitListen(api)
	return c
}

// Restart runs culvert again as it ran before; it must have ended.
func (c *Culvert) Restart(t testing.TB) {
	t.Helper()
	c.Process = Run(t, c.Cmd.Args...)
	c.WaitListen(strings.TrimPrefix(c.API, "http://"))
}

// Write replaces the configuration file.
func (c *Culvert) Write(t testing.TB, config string) {
	t.Helper()
	config = strings.NewReplacer("%API%", strings.TrimPrefix(c.API, "http://"), "%HOME%", c.Home).Replace(config)
	if err := os.WriteFile(c.File, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Call sends a request to the controller and returns the status and body.
func (c *Culvert) Call(t testing.TB, method, path string, body any) (int, []byte) {
	t.Helper()
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.API+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if c.Secret != "" {
		req.Header.Set("Authorization", "Bearer "+c.Secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, c.Output())
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, data
}

// Get decodes the answer to GET path into into; any status but 200 is fatal.
func (c *Culvert) Get(t testing.TB, path string, into any) {
	t.Helper()
	status, body := c.Call(t, http.MethodGet, path, nil)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

// Process is a program that runs until the test ends.
type Process struct {
	Cmd  *exec.Cmd
	t    testing.TB
	out  *buffer
	done chan struct{} // closed when it has ended
}

// Run starts a program in a process group of its own. It is killed, and its
// group with it, when the test ends; a failed test shows what it printed.
func Run(t testing.TB, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = Environ()
	return RunCmd(t, cmd)
}

// RunCmd is Run for a command with an environment or an input of its own.
func RunCmd(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, t: t, out: &buffer{}, done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = p.out, p.out
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.Cmd.WaitDelay = time.Second
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() { // ends with the program
		p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), p.Output())
		}
	})
	return p
}

// Stop asks the program to end, kills what is left of its group, and waits. It
// may be called twice.
func (p *Process) Stop() {
	p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
	}
	syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Kill ends the program with SIGKILL and waits.
func (p *Process) Kill() {
	syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Ended says whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait returns the exit code of a program that ends by itself; -1 says that a
// signal ended it. It is fatal when the program goes on.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.t.Fatalf("%s does not end", filepath.Base(p.Cmd.Path))
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Output is what the program printed so far, at most the last MiB.
func (p *Process) Output() string { return p.out.String() }

// WaitListen waits until something accepts at a TCP address.
func (p *Process) WaitListen(addr string) {
	p.t.Helper()
	p.Until("nothing listens at "+addr, func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// Until calls f until it succeeds; the test fails when it does not in time, or
// when the program has ended.
func (p *Process) Until(what string, f func() error) {
	p.t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if p.Ended() {
			err = errors.Join(errors.New("the program has ended"), err)
		}
		if p.Ended() || time.Now().After(deadline) {
			p.t.Fatalf("%s: %v\n%s", what, err, p.Output())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// buffer keeps the last MiB that was written.
type buffer struct {
	mu sync.Mutex // guards b
	b  []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	if over := len(b.b) - 1<<20; over > 0 {
		b.b = b.b[over:]
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.b)
}

package subproc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/configs"
)

// runner is one process, as go-plugin's runner.Runner.
type runner struct {
	spec configs.Plugin
	home string
	dir  string // of its sockets
	cmd  *exec.Cmd

	lifeline *os.File // write end of its stdin; never written
	stdout   *firstLine
	stderr   *os.File

	exited  chan struct{} // closes when the process is gone
	state   error         // how it ended; valid after exited
	missing []string      // protections that are not there
	killed  sync.Once
}

// executable is the file to start: inside the home directory, links resolved,
// with the digest that was asked for.
func executable(home string, p configs.Plugin) (string, error) {
	real, err := filepath.EvalSymlinks(p.File)
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(home)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s leads out of the home directory: plugins are started from there only", p.Path)
	}
	f, err := os.Open(real)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", p.Path)
	}
	if p.SHA256 == "" {
		return real, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, p.SHA256) {
		return "", fmt.Errorf("%s has sha256 %s, want %s: when the file is what you want, change sha256 in the configuration", p.Path, got, p.SHA256)
	}
	return real, nil
}

// newRunner prepares a process; env is what go-plugin wants it to have.
func newRunner(home, dir string, p configs.Plugin, env []string) (*runner, error) {
	path, err := executable(home, p)
	if err != nil {
		return nil, err
	}
	r := &runner{spec: p, home: home, dir: dir, exited: make(chan struct{})}
	r.cmd = exec.Command(path, p.Args...)
	r.cmd.Dir = dir
	r.cmd.Env = env
	for k, v := range p.Env {
		r.cmd.Env = append(r.cmd.Env, k+"="+string(v))
	}
	return r, nil
}

// Start implements runner.Runner.
func (r *runner) Start(context.Context) error {
	var theirs [3]*os.File
	defer func() {
		for _, f := range theirs {
			if f != nil {
				f.Close()
			}
		}
	}()
	in, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	theirs[0], r.lifeline = in, lifeline
	out, theirOut, err := os.Pipe()
	if err != nil {
		return err
	}
	theirs[1], r.stdout = theirOut, &firstLine{File: out}
	errs, theirErr, err := os.Pipe()
	if err != nil {
		return err
	}
	theirs[2], r.stderr = theirErr, errs
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = in, theirOut, theirErr
	started := make(chan error)
	go ownThread(func() { r.run(started) }) // ends with the process
	return <-started
}

// ownThread runs f on a thread that nothing else runs on and that ends with f.
// The process's first thread never ends, so it is not taken.
func ownThread(f func()) {
	runtime.LockOSThread()
	if !firstThread() {
		f()
		return // the thread ends with its goroutine, since it is still locked
	}
	done := make(chan struct{})
	go func() { // on another thread: this one is taken
		defer close(done)
		ownThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// run starts the process and waits for it, on a thread of its own: what a
// thread gives up, its children do not have, and the parent-death signal comes
// when the thread that started the child ends.
func (r *runner) run(started chan<- error) {
	defer close(r.exited)
	r.missing = prepare(r.cmd, r.spec.Limits)
	err := r.cmd.Start()
	if err == nil {
		r.missing = append(r.missing, limit(r.cmd.Process.Pid, r.spec.Limits)...)
	}
	started <- err
	if err != nil {
		return
	}
	r.state = r.cmd.Wait()
	killGroup(r.cmd.Process.Pid) // what it forked goes with it
}

// Wait implements runner.Runner.
func (r *runner) Wait(ctx context.Context) error {
	select {
	case <-r.exited:
		return r.state
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end asks the process to end, and makes it after the farewell.
func (r *runner) end(farewell time.Duration) {
	r.lifeline.Close()
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-r.exited:
	case <-t.C:
		r.Kill(context.Background())
	}
}

// Kill implements runner.Runner. It returns when the process is gone.
func (r *runner) Kill(context.Context) error {
	if r.cmd.Process == nil {
		return nil
	}
	select {
	case <-r.exited:
		return nil
	default:
	}
	r.killed.Do(func() {
		killGroup(r.cmd.Process.Pid)
		r.cmd.Process.Kill()
	})
	<-r.exited
	return nil
}

// release closes the kernel's ends of the pipes. A process that was forked
// away may hold the others.
func (r *runner) release() {
	for _, f := range []*os.File{r.lifeline, r.stderr} {
		if f != nil {
			f.Close()
		}
	}
	if r.stdout != nil {
		r.stdout.Close()
	}
}

// Stdout implements runner.Runner.
func (r *runner) Stdout() io.ReadCloser { return r.stdout }

// Stderr implements runner.Runner: go-plugin sees none, the log reads it.
func (r *runner) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (r *runner) Name() string { return r.spec.Name }

// ID implements runner.Runner.
func (r *runner) ID() string { return strconv.Itoa(r.pid()) }

func (r *runner) pid() int {
	if r.cmd.Process == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// Diagnose implements runner.Runner.
func (r *runner) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner. The control channel is a socket in
// the process's own directory, and nothing else is connected to.
func (r *runner) PluginToHost(network, address string) (string, string, error) {
	if runtime.GOOS == "windows" {
		return network, address, nil
	}
	if rel, err := filepath.Rel(r.dir, address); network != "unix" || err != nil || !filepath.IsLocal(rel) {
		return "", "", fmt.Errorf("control channel at %s %q: want a Unix socket in PLUGIN_UNIX_SOCKET_DIR", network, address)
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (r *runner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// firstLine keeps the first line that was read: the handshake.
type firstLine struct {
	*os.File
	mu   sync.Mutex // guards line, done
	line []byte
	done bool
}

// Read implements io.Reader.
func (f *firstLine) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range b[:n] {
		if f.done = f.done || c == '\n' || len(f.line) > 1024; f.done {
			break
		}
		f.line = append(f.line, c)
	}
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

func (f *firstLine) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.line)
}

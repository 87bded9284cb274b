// Package subproc runs plugins as processes: it starts an executable, shakes
// hands through go-plugin, watches it, starts it again when it ends, replaces
// it without a gap, and ends it. What it holds becomes Descriptors through
// framework/wire. A process gets nothing of the kernel's: no environment, no
// descriptors, a directory of its own for sockets. It is the only importer of
// go-plugin on the kernel's side.
package subproc

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/registry"
)

// Config is what a Launcher is made from.
type Config struct {
	Home    string // the home directory, absolute: executables are inside it
	Log     *slog.Logger
	Version string // of the kernel, told to plugins
	Timing  Timing
	Temp    string // where the private directory is made; "" is a short path of the system's
}

// Timing is how patient supervision is. Zero fields stand for the defaults.
type Timing struct {
	Start    time.Duration // for a process to shake hands; 5 s
	Ping     time.Duration // between pings; 400 ms
	Pong     time.Duration // for a ping's answer; 700 ms. Three in a row that are missed mean that the process hangs
	Backoff  time.Duration // before the second start in a row, doubled for each further one; 500 ms
	Longest  time.Duration // bound of Backoff; 30 s
	Calm     time.Duration // in ready, after which the count of starts begins anew; 60 s
	Crashes  int           // within Window: no further start until the user asks for one; 5
	Window   time.Duration // 60 s
	Farewell time.Duration // for a process that was asked to end; 1 s
}

func (t Timing) orDefaults() Timing {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&t.Start, 5*time.Second)
	or(&t.Ping, 400*time.Millisecond)
	or(&t.Pong, 700*time.Millisecond)
	or(&t.Backoff, 500*time.Millisecond)
	or(&t.Longest, 30*time.Second)
	or(&t.Calm, time.Minute)
	or(&t.Window, time.Minute)
	or(&t.Farewell, time.Second)
	if t.Crashes <= 0 {
		t.Crashes = 5
	}
	return t
}

// Launcher starts plugins. Make one for a kernel; Close ends what it started.
type Launcher struct {
	Config
	dir  string   // private, 0700
	lock *os.File // says that this kernel lives

	mu       sync.Mutex // guards launches, plugins
	launches int
	plugins  map[*plugin]bool
}

var _ registry.Launcher = (*Launcher)(nil)

// New makes a Launcher, and a private directory at the first Launch. What
// kernels that died have left behind is swept then.
func New(c Config) *Launcher {
	c.Timing = c.Timing.orDefaults()
	return &Launcher{Config: c, plugins: map[*plugin]bool{}}
}

// Launch implements registry.Launcher.
func (l *Launcher) Launch(ctx context.Context, spec configs.Plugin) (registry.Plugin, error) {
	p := newPlugin(l, spec)
	l.mu.Lock()
	l.plugins[p] = true
	l.mu.Unlock()
	if err := p.begin(ctx); err != nil {
		p.Close(0)
		return nil, err
	}
	return p, nil
}

// Close ends all processes at once and removes the private directory. It may
// be called twice.
func (l *Launcher) Close() {
	l.mu.Lock()
	list := make([]*plugin, 0, len(l.plugins))
	for p := range l.plugins {
		list = append(list, p)
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range list {
		wg.Go(func() { p.Close(0) })
	}
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir != "" {
		os.RemoveAll(l.dir)
		l.lock.Close()
		l.dir = ""
	}
}

func (l *Launcher) forget(p *plugin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.plugins, p)
}

// maxBase is how long the path of the directory for private ones may be: a
// Unix socket's path has 108 bytes, and go-plugin adds some 60.
const maxBase = 40

// base is where private directories are made.
func (l *Launcher) base() string {
	if l.Temp != "" {
		return l.Temp
	}
	if dir := os.TempDir(); len(dir) <= maxBase {
		return dir
	}
	return "/tmp"
}

const dirPrefix = "culvert-sockets-"

// launchDir makes a directory for the sockets of one process.
func (l *Launcher) launchDir() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == "" {
		sweep(l.base(), l.Log)
		dir, err := os.MkdirTemp(l.base(), dirPrefix) // has mode 0700
		if err != nil {
			return "", fmt.Errorf("directory for sockets: %w", err)
		}
		f, err := lockFile(filepath.Join(dir, "new"), os.O_CREATE)
		if err == nil {
			// Locked before it has the name that a sweep looks for.
			err = os.Rename(f.Name(), filepath.Join(dir, lockName))
		}
		if err != nil {
			os.RemoveAll(dir)
			return "", fmt.Errorf("directory for sockets: %w", err)
		}
		l.dir, l.lock = dir, f
	}
	l.launches++
	dir := filepath.Join(l.dir, strconv.Itoa(l.launches))
	return dir, os.Mkdir(dir, 0o700)
}

// lockName is the file that a living kernel has locked.
const lockName = "lock"

// sweep removes the directories of kernels that are gone: their lock is free.
func sweep(base string, log *slog.Logger) {
	found, _ := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	for _, dir := range found {
		if !owned(dir) {
			continue
		}
		f, err := lockFile(filepath.Join(dir, lockName), 0)
		if err != nil {
			continue // its kernel lives, or it is no kernel's
		}
		if err := os.RemoveAll(dir); err == nil {
			log.Info("the sockets of a kernel that is gone are removed", "dir", dir)
		}
		f.Close()
	}
}

package subproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/framework/serve"
	"github.com/culvert-proxy/culvert/framework/wire"
	"github.com/culvert-proxy/culvert/registry"
)

// TestMain is the plugin too: a Launcher starts this binary.
func TestMain(m *testing.M) {
	if os.Getenv(wire.CookieKey) != "" {
		switch os.Getenv("BEHAVE") {
		case "exit":
			os.Exit(3)
		case "babble":
			fmt.Println("hello, world")
			os.Exit(0)
		case "panic":
			panic("at start")
		case "mute":
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		case "future":
			fmt.Println("1|7|unix|/nowhere|grpc|")
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}
		serve.Main(described())
	}
	goleak.VerifyTestMain(m)
}

type config struct {
	Port int `yaml:"port" min:"1" doc:"a port"`
}

func described() framework.Descriptor {
	return framework.NewOutbound("direct-process", func() config { return config{Port: 1} },
		func(_ context.Context, h framework.Host, _ config) (framework.Outbound, error) {
			return direct{h.Dialer()}, nil
		}, framework.WithCaps(framework.CapPacket))
}

type direct struct{ framework.Dialer }

func (direct) Close() error { return nil }

// host is the kernel's side of an instance.
type host struct{}

func (host) Name() string                 { return "under test" }
func (host) Log() *slog.Logger            { return slog.New(slog.DiscardHandler) }
func (host) Dialer() framework.Dialer     { return dialer.New(dialer.System{}, dialer.Options{}, nil) }
func (host) Resolver() framework.Resolver { return dialer.System{} }
func (host) Dir() string                  { return "" }
func (host) Listen(context.Context, string) (net.Listener, error) {
	return nil, errors.ErrUnsupported
}
func (host) ListenPacket(context.Context, string) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}
func (host) Admission() framework.Admission { return nil }
func (host) Count(string, uint64)           {}

func spec(t *testing.T, behave string) (string, configs.Plugin) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(self), configs.Plugin{Name: "self", Path: filepath.Base(self), File: self, Drain: configs.Span(time.Minute),
		Env: map[string]framework.Secret{"BEHAVE": framework.Secret(behave)}}
}

func launcher(t *testing.T, timing Timing) (*Launcher, configs.Plugin) {
	t.Helper()
	home, s := spec(t, "")
	temp, err := os.MkdirTemp("", "") // a short path: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	l := New(Config{Home: home, Log: slog.New(slog.DiscardHandler), Timing: timing, Temp: temp})
	t.Cleanup(func() {
		l.Close()
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("%v is left behind", left)
		}
		os.RemoveAll(temp)
	})
	return l, s
}

func launch(t *testing.T, l *Launcher, s configs.Plugin) registry.Plugin {
	t.Helper()
	p, err := l.Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func build(t *testing.T, p registry.Plugin) framework.Outbound {
	t.Helper()
	tree, err := conf.Parse("config.yaml", []byte("port: 5"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := framework.Build[framework.Outbound](t.Context(), p.Types()[0], host{}, tree.Root().Source(conf.Loose))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// await waits for a state and a process other than pid.
func await(t *testing.T, p registry.Plugin, want registry.State, pid int) registry.Status {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := p.Status(); s.State == want && s.PID != pid {
			return s
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("got %+v, want %s", p.Status(), want)
		}
	}
}

func echo(t *testing.T) framework.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return framework.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: uint16(ln.Addr().(*net.TCPAddr).Port)}
}

func try(o framework.Outbound, to framework.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := o.DialStream(ctx, to)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte("x"))
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

func TestProcessServesFlows(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{})
	p := launch(t, l, s)
	o := build(t, p)

	if err := try(o, echo(t)); err != nil {
		t.Error(err)
	}
	st := p.Status()
	if st.State != registry.Ready || st.PID == 0 || len(st.Types) != 1 || st.Users[0] != `outbound "under test"` {
		t.Errorf("got %+v", st)
	}
}

func TestCrashedPluginComesBackWithItsInstances(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{})
	p := launch(t, l, s)
	o, to := build(t, p), echo(t)
	pid := p.Status().PID
	syscall.Kill(pid, syscall.SIGKILL)

	st := await(t, p, registry.Ready, pid)

	if err := try(o, to); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if st.Restarts != 1 || !strings.Contains(st.LastError, "killed") {
		t.Errorf("got %d restarts after %q, want 1 after the kill", st.Restarts, st.LastError)
	}
}

func TestFiveCrashesInAMinuteAreEnough(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{Backoff: time.Millisecond, Longest: 10 * time.Millisecond})
	p := launch(t, l, s)
	o, to := build(t, p), echo(t)
	pid := 0
	for range 5 {
		pid = await(t, p, registry.Ready, pid).PID
		syscall.Kill(pid, syscall.SIGKILL)
	}
	await(t, p, registry.Failed, pid)

	began := time.Now()
	err := try(o, to)
	if framework.Classify(err) != framework.ErrUnavailable || time.Since(began) > time.Second {
		t.Errorf("got %v after %v, want %v at once", err, time.Since(began), framework.ErrUnavailable)
	}

	if err := p.Upgrade(t.Context(), s, func([]framework.Descriptor) error { return nil }); err != nil {
		t.Fatal(err)
	}
	await(t, p, registry.Ready, 0)
	if err := try(o, to); err != nil {
		t.Errorf("after the user asked for it: %v", err)
	}
}

func TestHangIsFoundInThreeSeconds(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{})
	p := launch(t, l, s)
	pid := p.Status().PID
	began := time.Now()
	syscall.Kill(pid, syscall.SIGSTOP)

	st := await(t, p, registry.Ready, pid)

	if took := time.Since(began); took > 3500*time.Millisecond || !strings.Contains(st.LastError, "ping") {
		t.Errorf("back after %v because %q, want 3 s and the pings", took, st.LastError)
	}
}

func TestStartThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	l, _ := launcher(t, Timing{Start: 500 * time.Millisecond})
	for behave, want := range map[string]string{
		"exit":   "exited before it said hello",
		"panic":  "panic: at start",
		"babble": `it printed "hello, world"`,
		"mute":   "did not say hello within 500ms",
		"future": "the plugin speaks protocol 7, the kernel speaks 1: upgrade the kernel",
	} {
		_, s := spec(t, behave)
		_, err := l.Launch(t.Context(), s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", behave, err, want)
		}
	}
}

func TestOnlyTheExecutableThatWasMeantIsStarted(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{})
	s.SHA256 = strings.Repeat("0", 64)
	if _, err := l.Launch(t.Context(), s); err == nil || !strings.Contains(err.Error(), "change sha256 in the configuration") {
		t.Errorf("wrong digest: got %v", err)
	}
	s.SHA256 = ""
	link := filepath.Join(l.Home, "outside-"+filepath.Base(t.TempDir()))
	if err := os.Symlink("/bin/sh", link); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(link)
	s.File = link
	if _, err := l.Launch(t.Context(), s); err == nil || !strings.Contains(err.Error(), "leads out of the home directory") {
		t.Errorf("link to the outside: got %v", err)
	}
}

func TestUpgradeKeepsOpenFlows(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{})
	p := launch(t, l, s)
	o, to := build(t, p), echo(t)
	c, err := o.DialStream(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := p.Status().PID

	if err := p.Upgrade(t.Context(), s, func([]framework.Descriptor) error { return nil }); err != nil {
		t.Fatal(err)
	}
	await(t, p, registry.Ready, pid)

	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte("y"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("the flow of before: %v", err)
	}
	if err := try(o, to); err != nil {
		t.Errorf("a flow of after: %v", err)
	}
}

func TestDirectoriesOfDeadKernelsAreSwept(t *testing.T) {
	t.Parallel()
	l, s := launcher(t, Timing{})
	dead := filepath.Join(l.Temp, dirPrefix+"dead")
	alive := filepath.Join(l.Temp, dirPrefix+"alive")
	os.MkdirAll(filepath.Join(dead, "1"), 0o700)
	os.MkdirAll(alive, 0o700)
	os.WriteFile(filepath.Join(dead, lockName), nil, 0o600)
	lock, err := lockFile(filepath.Join(alive, lockName), os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(l.Temp, dirPrefix+"of-somebody")
	os.MkdirAll(others, 0o700)

	launch(t, l, s)

	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the dead kernel's directory is there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the living kernel's directory is gone: %v", err)
	}
	if _, err := os.Stat(others); err != nil {
		t.Errorf("a directory without a lock is gone: %v", err)
	}
	lock.Close()
	os.RemoveAll(alive)
	os.RemoveAll(others)
}

package subproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	gorunner "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/wire"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// process is one launch of a plugin, from its directory to its end.
type process struct {
	l       *Launcher
	dir     string
	runner  *runner
	plugin  *goplugin.Client
	conn    *grpc.ClientConn
	client  *wire.Client
	about   *wire.Description
	host    net.Listener
	journal *journal

	began time.Time
	hung  chan struct{} // closes when it does not answer any more
	read  chan struct{} // closes when its stderr has been read to the end
	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	ended sync.Once
}

// handshake tells a plugin of ours from another program.
func handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{ProtocolVersion: wire.Version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue}
}

// start starts a process and returns when it has said what it holds. After an
// error nothing of it is left.
func (l *Launcher) start(ctx context.Context, spec configs.Plugin, r *wire.Remote, j *journal) (*process, error) {
	dir, err := l.launchDir()
	if err != nil {
		return nil, err
	}
	p := &process{l: l, dir: dir, journal: j, hung: make(chan struct{}), read: make(chan struct{}), began: time.Now()}
	p.ctx, p.stop = context.WithCancel(context.Background())
	if err = p.connect(ctx, spec, r); err == nil {
		p.tasks.Go(p.ping) // ends with the process, or end
		return p, nil
	}
	p.end(0)
	if trace := j.last(); trace != "" && strings.Contains(err.Error(), "exited before") {
		head, _, _ := strings.Cut(trace, "\n")
		err = fmt.Errorf("%w: %s", err, head)
	}
	return nil, err
}

func (p *process) connect(ctx context.Context, spec configs.Plugin, r *wire.Remote) error {
	token := wire.NewToken()
	var err error
	if p.host, err = net.Listen("unix", filepath.Join(p.dir, "host")); err != nil {
		return fmt.Errorf("host channel: %w", err)
	}
	p.tasks.Go(func() { r.ServeHost(p.host, token) }) // ends with host
	env := []string{
		wire.EnvData + "=" + filepath.Join(p.dir, "data"),
		wire.EnvHost + "=" + filepath.Join(p.dir, "host"),
		wire.EnvToken + "=" + token.String(),
		wire.EnvName + "=" + spec.Name,
	}
	printed, endPrinted := p.journal.pipe()
	p.tasks.Go(func() { <-p.ctx.Done(); endPrinted() })
	var prepared error
	p.plugin = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake(),
		VersionedPlugins: map[int]goplugin.PluginSet{wire.Version: {}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		StartTimeout:     p.l.Timing.Start,
		SkipHostEnv:      true,
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       printed,
		SyncStderr:       printed,
		GRPCDialOptions:  wire.DialOptions(),
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: p.dir},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (gorunner.Runner, error) {
			p.runner, prepared = newRunner(p.l.Home, p.dir, spec, append(cmd.Env, env...))
			if prepared != nil {
				return nil, prepared
			}
			return started{p.runner, p}, nil
		},
	})
	protocol, err := p.plugin.Client()
	if err != nil {
		return p.startError(err)
	}
	client, ok := protocol.(*goplugin.GRPCClient)
	if !ok {
		return errors.New("the plugin does not speak gRPC")
	}
	p.conn = client.Conn
	data := filepath.Join(p.dir, "data")
	p.client = wire.NewClient(p.conn, token, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", data)
	})
	ctx, cancel := context.WithTimeout(ctx, p.l.Timing.Start)
	defer cancel()
	p.about, err = wire.Describe(ctx, p.client, p.l.Version)
	return err
}

// started is a runner whose stderr is read from the moment it runs.
type started struct {
	*runner
	p *process
}

// Start implements runner.Runner.
func (s started) Start(ctx context.Context) error {
	if err := s.runner.Start(ctx); err != nil {
		close(s.p.read)
		return err
	}
	s.p.tasks.Go(func() { // ends with stderr
		defer close(s.p.read)
		s.p.journal.follow(s.runner.stderr, s.runner.exited)
	})
	return nil
}

// startError says what a failed start means, and what to do.
func (p *process) startError(err error) error {
	if p.runner == nil {
		return err
	}
	var line string
	if p.runner.stdout != nil {
		line = p.runner.stdout.text()
	}
	parts := strings.Split(line, "|")
	if len(parts) > 1 {
		switch theirs, bad := strconv.Atoi(parts[1]); {
		case bad != nil:
		case theirs > wire.Version:
			return fmt.Errorf("the plugin speaks protocol %d, the kernel speaks %d: upgrade the kernel", theirs, wire.Version)
		case theirs < wire.Version:
			return fmt.Errorf("the plugin speaks protocol %d, the kernel speaks %d: upgrade the plugin", theirs, wire.Version)
		}
	}
	switch text := err.Error(); {
	case strings.Contains(text, "Unrecognized remote plugin message") && line == "":
		return errors.New("the plugin exited before it said hello")
	case strings.Contains(text, "Unrecognized remote plugin message"):
		return fmt.Errorf("the program is no plugin: it printed %q", line)
	case strings.Contains(text, "timeout while waiting"):
		return fmt.Errorf("the plugin did not say hello within %v", p.l.Timing.Start)
	}
	return fmt.Errorf("start: %w", err)
}

// ping watches whether the process answers.
func (p *process) ping() {
	health := healthpb.NewHealthClient(p.conn)
	t := time.NewTicker(p.l.Timing.Ping)
	defer t.Stop()
	missed := 0
	for {
		if missed == 0 {
			select {
			case <-p.ctx.Done():
				return
			case <-p.runner.exited:
				return
			case <-t.C:
			}
		}
		ctx, cancel := context.WithTimeout(p.ctx, p.l.Timing.Pong)
		_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: wire.HealthName})
		cancel()
		switch {
		case p.ctx.Err() != nil:
			return
		case err == nil:
			missed = 0
		default:
			missed++
		}
		if missed == 3 {
			close(p.hung)
			return
		}
	}
}

// drain asks the process to end when its last flow has.
func (p *process) drain() error {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	_, err := p.client.Drain(ctx, &pb.DrainRequest{})
	return err
}

// lastWords waits until what the process wrote last is in the log; something
// that it forked away may hold the pipe open.
func (p *process) lastWords() {
	t := time.NewTimer(p.l.Timing.Farewell)
	defer t.Stop()
	select {
	case <-p.read:
	case <-t.C:
	}
}

// end ends the process, by force after the farewell, and removes what it had.
// It may be called twice.
func (p *process) end(farewell time.Duration) {
	p.ended.Do(func() {
		if p.runner != nil && p.runner.lifeline != nil {
			p.runner.end(farewell)
			p.lastWords()
			p.runner.release()
		}
		p.stop()
		if p.conn != nil {
			p.conn.Close()
		}
		if p.plugin != nil {
			p.plugin.Kill() // waits for go-plugin's goroutines
		}
		if p.host != nil {
			p.host.Close()
		}
		p.tasks.Wait()
		os.RemoveAll(p.dir)
	})
}

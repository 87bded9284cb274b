package wire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/culvert-proxy/culvert/framework"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// Pair runs both ends of the protocol in this process: it serves ds as a
// plugin process does, and returns them as the kernel sees them, sorted by
// kind and type. All that goes between goes over sockets. stop ends both ends
// and waits for them; instances are closed before.
func Pair(ds ...framework.Descriptor) (remote []framework.Descriptor, stop func(), err error) {
	p := &pair{control: newPipeListener(), host: newPipeListener(), token: NewToken()}
	log := slog.New(slog.DiscardHandler)
	p.server, err = NewServer(ServerConfig{Types: ds, Version: "pair", Token: p.token, Log: log, DialHost: p.host.dial})
	if err != nil {
		return nil, nil, err
	}
	p.grpc = grpc.NewServer()
	pb.RegisterPluginServer(p.grpc, p.server.Service())
	p.remote = NewRemote("pair", log)
	p.tasks.Go(func() { p.grpc.Serve(p.control) })             // ends with stop
	p.tasks.Go(func() { p.remote.ServeHost(p.host, p.token) }) // ends with stop
	if err := p.attach(); err != nil {
		p.stop()
		return nil, nil, err
	}
	return p.remote.Types(), sync.OnceFunc(p.stop), nil
}

type pair struct {
	control, host *pipeListener
	token         Token
	server        *Server
	grpc          *grpc.Server
	conn          *grpc.ClientConn
	remote        *Remote
	tasks         sync.WaitGroup
}

func (p *pair) attach() (err error) {
	p.conn, err = grpc.NewClient("passthrough:///pair", append(DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this process: there is nobody to hide from
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.control.dial(ctx) }))...)
	if err != nil {
		return err
	}
	c := NewClient(p.conn, p.token, func(context.Context) (net.Conn, error) {
		a, b, err := socketPair()
		if err == nil {
			p.server.ServeFlow(b)
		}
		return a, err
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d, err := Describe(ctx, c, "pair")
	if err != nil {
		return err
	}
	return p.remote.Attach(ctx, c, d, true)
}

func (p *pair) stop() {
	p.remote.Close()
	if p.conn != nil {
		p.conn.Close()
	}
	p.grpc.Stop()
	p.host.Close()
	p.server.Close()
	p.tasks.Wait()
}

// DialOptions bound what a process may cost the kernel on the control channel.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithMaxHeaderListSize(64 << 10),
		grpc.WithDisableServiceConfig(),
	}
}

// pipeListener gives one end of a socket pair to whoever dials, and accepts
// the other.
type pipeListener struct {
	come chan net.Conn
	done chan struct{}
	once sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{come: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	a, b, err := socketPair()
	if err != nil {
		return nil, err
	}
	select {
	case l.come <- b:
		return a, nil
	case <-l.done:
		err = errors.New("the listener is closed")
	case <-ctx.Done():
		err = ctx.Err()
	}
	a.Close()
	b.Close()
	return nil, err
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.come:
		return c, nil
	case <-l.done:
		return nil, io.EOF
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pair", Net: "unix"} }

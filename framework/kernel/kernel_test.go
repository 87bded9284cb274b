package kernel_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
)

// patience bounds every wait.
const patience = 10 * time.Second

// The clock of regexp2 ends by itself, a second after the last match.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/dlclark/regexp2.runClock"), goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

// probe is an outbound that dials straight and tells what happened to it.
type probe struct {
	tag   string
	house *house
}

type probeConfig struct {
	Tag string `yaml:"tag" doc:"makes two instances differ; bad fails to build, slow to dial, a time is how long it dials"`
}

func (p *probe) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	if p.tag == "slow" {
		p.house.dialing <- struct{}{}
		<-p.house.dial
	}
	if wait, err := time.ParseDuration(p.tag); err == nil {
		<-time.After(wait)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	return c, err
}

func (p *probe) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrUnsupported
}

func (p *probe) Close() error {
	p.house.closed <- p.tag
	return nil
}

// house is a kernel with all plugins and the type "probe".
type house struct {
	*kernel.Kernel
	logs   *logs
	level  *slog.LevelVar
	closed chan string // tags of probes that were closed
	builds atomic.Int32

	dialing, dial chan struct{} // a probe with the tag "slow" dials, and may
}

func newHouse(t *testing.T, change func(*kernel.Config)) *house {
	t.Helper()
	h := &house{logs: &logs{}, level: new(slog.LevelVar), closed: make(chan string, 1000), dialing: make(chan struct{}), dial: make(chan struct{})}
	build := func(_ context.Context, _ framework.Host, c probeConfig) (framework.Outbound, error) {
		if c.Tag == "bad" {
			return nil, fmt.Errorf("no probe today")
		}
		h.builds.Add(1)
		return &probe{c.Tag, h}, nil
	}
	types := append(plugins.All(), framework.NewOutbound("probe", func() probeConfig { return probeConfig{} }, build))
	catalog, err := registry.New(types...)
	if err != nil {
		t.Fatal(err)
	}
	c := kernel.Config{Home: t.TempDir(), Catalog: catalog, Stats: stats.New(), Log: slog.New(slog.NewTextHandler(h.logs, nil)), Level: h.level}
	if change != nil {
		change(&c)
	}
	h.Kernel = kernel.New(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		h.Close(ctx)
	})
	return h
}

// load reads a document.
func (h *house) load(t *testing.T, text string) *configs.Document {
	t.Helper()
	doc, err := configs.Load(configs.Input{Home: h.Home, Bytes: []byte(text), Name: "config.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// apply puts a document in force.
func (h *house) apply(t *testing.T, text string, opt ...kernel.Options) {
	t.Helper()
	if err := h.Apply(context.Background(), h.load(t, text), append(opt, kernel.Options{})[0]); err != nil {
		t.Fatal(err)
	}
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged and forgets it.
func (l *logs) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// freePort is a port of loopback that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// portOf is the port in an address.
func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { // ends with its client
				io.Copy(c, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

// connect asks the HTTP proxy at port for a tunnel to address and returns the
// first line of its answer, or what went wrong, without a connection when it
// was refused.
func connect(t *testing.T, port int, address string) (net.Conn, string) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err.Error()
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", address)
	var answer []byte
	for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); answer = append(answer, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			return c, err.Error()
		}
	}
	line, _, _ := strings.Cut(string(answer), "\r\n")
	return c, line
}

// tunnel is connect that must work.
func tunnel(t *testing.T, port int, address string) net.Conn {
	t.Helper()
	c, line := connect(t, port, address)
	if !strings.Contains(line, " 200 ") {
		t.Fatalf("got %q, want 200", line)
	}
	return c
}

// alive says whether c still echoes; nil does not.
func alive(c net.Conn) bool {
	if c == nil {
		return false
	}
	b := []byte("ping")
	if _, err := c.Write(b); err != nil {
		return false
	}
	_, err := io.ReadFull(c, b)
	return err == nil && string(b) == "ping"
}

// wait takes the next value of c.
func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

func TestCloseMayBeCalledTwiceAndRefusesWhatComesLater(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	h := newHouse(t, nil)
	h.apply(t, fmt.Sprintf("mixed-port: %d\nproxies: [{name: a, type: probe, tag: a}]\nrules: ['MATCH,a']", port))
	flow := tunnel(t, port, echo(t))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()

	h.Close(ctx)
	h.Close(ctx)

	if alive(flow) {
		t.Error("a flow outlives the kernel")
	}
	if tag := wait(t, h.closed); tag != "a" {
		t.Errorf("closed %q, want a", tag)
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		c.Close()
		t.Error("a closed kernel accepts")
	}
	if err := h.Apply(ctx, h.load(t, "{}"), kernel.Options{}); err == nil {
		t.Error("a closed kernel takes a document")
	}
	if err := h.Patch(ctx, kernel.Patch{}); err == nil {
		t.Error("a closed kernel takes a patch")
	}
}

func TestPatchBeforeTheFirstDocumentIsAnError(t *testing.T) {
	t.Parallel()
	if err := newHouse(t, nil).Patch(context.Background(), kernel.Patch{}); err == nil {
		t.Error("got no error")
	}
}

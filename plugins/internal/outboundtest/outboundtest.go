// Package outboundtest has what the tests of outbounds share: a host, servers
// on loopback, among them hostile ones, and certificates.
package outboundtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// Host is a framework.Host with a dialer and a resolver; it has no more.
type Host struct {
	framework.Host
	Via   framework.Dialer
	Names framework.Resolver
	Home  string
}

// Name implements framework.Host.
func (Host) Name() string { return "test" }

// Log implements framework.Host.
func (Host) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Dialer implements framework.Host.
func (h Host) Dialer() framework.Dialer { return h.Via }

// Resolver implements framework.Host.
func (h Host) Resolver() framework.Resolver { return h.Names }

// Dir implements framework.Host.
func (h Host) Dir() string { return h.Home }

// Names is a resolver that knows what it holds.
type Names map[string][]netip.Addr

// Lookup implements framework.Resolver.
func (n Names) Lookup(_ context.Context, host string) ([]netip.Addr, error) {
	if ips := n[host]; len(ips) > 0 {
		return ips, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// Build makes an outbound from YAML and closes it with the test.
func Build(t testing.TB, d framework.Descriptor, h framework.Host, yaml string) framework.Outbound {
	t.Helper()
	o, err := Try(d, h, yaml)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close(); o.Close() })
	return o
}

// Try makes an outbound from YAML, or says what is wrong with it. The keys
// that the kernel reads are known.
func Try(d framework.Descriptor, h framework.Host, yaml string) (framework.Outbound, error) {
	tree, err := conf.Parse("test.yaml", []byte(yaml))
	if err != nil {
		return nil, err
	}
	src := tree.Root().Source(conf.Loose, "name", "type", "udp")
	o, err := framework.Build[framework.Outbound](context.Background(), d, h, src)
	if err == nil && len(src.Warnings()) > 0 {
		err = src.Warnings()[0]
	}
	return o, err
}

// Context is a context that ends the test's waits.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Serve gives each connection to handle and closes it after. At the end of the
// test connections are closed and handlers waited for.
func Serve(t testing.TB, handle func(net.Conn)) framework.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{open: map[net.Conn]bool{}}
	s.running.Add(1)
	go s.accept(l, handle)
	t.Cleanup(func() {
		l.Close()
		s.closeAll()
		s.running.Wait()
	})
	return framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
}

type server struct {
	running sync.WaitGroup

	mu     sync.Mutex // guards all below
	open   map[net.Conn]bool
	closed bool
}

func (s *server) accept(l net.Listener, handle func(net.Conn)) {
	defer s.running.Done() // ends when l is closed
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !s.add(c) {
			continue
		}
		go func() { // ends when c is closed
			defer s.running.Done()
			defer s.drop(c)
			handle(c)
		}()
	}
}

func (s *server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.open[c] = true
	s.running.Add(1)
	return true
}

func (s *server) drop(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
}

// Echo sends back what it gets, and ends its half when the client does.
func Echo(c net.Conn) { io.Copy(c, c) }

// Talk writes a line through c and wants it back.
func Talk(t testing.TB, c net.Conn) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Fatalf("got %q, %v", b, err)
	}
}

// Hostile is servers that do not speak the protocol. Each hangs up at the end
// of the test at the latest.
func Hostile() map[string]func(net.Conn) {
	wait := func(c net.Conn) { io.Copy(io.Discard, c) }
	return map[string]func(net.Conn){
		"silence":         wait,
		"hang-up":         func(net.Conn) {},
		"reset":           func(c net.Conn) { c.Read(make([]byte, 1)); c.(*net.TCPConn).SetLinger(0) },
		"garbage":         func(c net.Conn) { c.Write([]byte("\xff\x00garbage\r\n\r\n\x05\xff")); wait(c) },
		"endless garbage": func(c net.Conn) { flood(c) },
		"half an answer":  func(c net.Conn) { c.Read(make([]byte, 512)); c.Write([]byte{5}); wait(c) },
	}
}

func flood(c net.Conn) {
	b := make([]byte, 1<<16)
	for i := range b {
		b[i] = byte(i * 7)
	}
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// Drip writes b one byte at a time, often enough that no single read times
// out and far too slowly to end in time, until c is closed.
func Drip(c net.Conn, b []byte) {
	gone := make(chan struct{})
	go func() { // ends when c is closed
		defer close(gone)
		io.Copy(io.Discard, c)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, one := range b {
		if _, err := c.Write([]byte{one}); err != nil {
			break
		}
		select {
		case <-tick.C:
		case <-gone:
			return
		}
	}
	<-gone
}

// grace is how late a dial may return in a test: far less than the timeout of
// a handshake, and enough for a machine that is busy with other tests.
const grace = 2 * time.Second

// Ends checks that dial fails with a class soon after its context ends, or
// before: for a deadline and for a cancel.
func Ends(t *testing.T, dial func(context.Context) error) {
	t.Helper()
	const life = 50 * time.Millisecond
	for story, start := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), life)
		},
		"cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(life, cancel)
			return ctx, cancel
		},
	} {
		ctx, cancel := start()
		started := time.Now()
		err := dial(ctx)
		cancel()
		if took := time.Since(started); took > life+grace {
			t.Errorf("%s: returned after %v, want at most %v", story, took, life+grace)
		}
		if err == nil || framework.Classify(err) == nil {
			t.Errorf("%s: got %v, want an error with a class", story, err)
		}
	}
}

// EndsHostile runs Ends against every hostile server.
func EndsHostile(t *testing.T, dial func(ctx context.Context, server framework.Addr) error) {
	t.Helper()
	for story, handle := range Hostile() {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			server := Serve(t, handle)
			Ends(t, func(ctx context.Context) error { return dial(ctx, server) })
		})
	}
}

// Is checks the class of an error.
func Is(t testing.TB, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("got %v, want class %v", err, class)
	}
}

// Sample checks the plugin's sample.yaml: each of its proxies of d's type is
// right, without a warning, and together they show every key of d.
func Sample(t *testing.T, d framework.Descriptor) {
	t.Helper()
	data, err := os.ReadFile("sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := conf.Parse("sample.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, n := range tree.Root().Get("proxies").Items() {
		if typ, _ := n.Get("type").Text(); typ != d.Type {
			continue
		}
		src := n.Source(conf.Loose, "name", "type", "udp")
		if err := d.Check(src); err != nil {
			t.Error(err)
		}
		for _, w := range src.Warnings() {
			t.Error(w)
		}
		for _, e := range n.Entries() {
			shown[e.Key] = true
		}
	}
	if !shown["type"] {
		t.Errorf("sample.yaml has no proxy of type %s", d.Type)
	}
	for _, key := range keys(t, d) {
		if !shown[key] {
			t.Errorf("sample.yaml does not show %s", key)
		}
	}
}

// keys are those of d's configuration.
func keys(t *testing.T, d framework.Descriptor) []string {
	t.Helper()
	var schema struct {
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal(conf.Schema(d.Defaults()), &schema); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(schema.Properties))
}

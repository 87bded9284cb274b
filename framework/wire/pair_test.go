package wire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/dialer"
)

// plainConfig is the configuration of the outbound under test.
type plainConfig struct {
	Port   int      `yaml:"port" min:"1" max:"65535" required:"true" doc:"a port"`
	Word   string   `yaml:"word" doc:"text as written"`
	List   []string `yaml:"list" doc:"words"`
	Wrap   bool     `yaml:"wrap" doc:"do not hand sockets over"`
	Nested struct {
		Path string `yaml:"path" doc:"must begin with /"`
	} `yaml:"nested" doc:"inner keys"`
}

func (c plainConfig) Validate() error {
	if c.Nested.Path != "" && !strings.HasPrefix(c.Nested.Path, "/") {
		return &framework.FieldError{Path: "nested.path", Msg: `must begin with "/"`}
	}
	return nil
}

// plain is an outbound that dials what it is told.
type plain struct {
	host   framework.Host
	config plainConfig
}

func (p *plain) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	p.host.Count("dials", 1)
	if to.Host == "panic.test" {
		panic("on request")
	}
	c, err := p.host.Dialer().DialStream(ctx, to)
	if err == nil && p.config.Wrap {
		return wrapped{c}, nil
	}
	return c, err
}

type wrapped struct{ net.Conn }

func (w wrapped) CloseWrite() error { return w.Conn.(*net.TCPConn).CloseWrite() }

func (p *plain) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	return p.host.Dialer().DialPacket(ctx, to)
}

func (p *plain) Close() error { return nil }

func plainDescriptor() framework.Descriptor {
	return framework.NewOutbound("plain", func() plainConfig { return plainConfig{Word: "default"} },
		func(_ context.Context, h framework.Host, c plainConfig) (framework.Outbound, error) {
			return &plain{h, c}, nil
		}, framework.WithLabel("Plain"), framework.WithCaps(framework.CapPacket))
}

// testHost is a kernel's host of plain sockets.
type testHost struct {
	counted atomic.Uint64
	some    chan struct{}
}

func newTestHost() *testHost { return &testHost{some: make(chan struct{}, 100)} }

func (h *testHost) Name() string                 { return "under test" }
func (h *testHost) Log() *slog.Logger            { return slog.New(slog.DiscardHandler) }
func (h *testHost) Dialer() framework.Dialer     { return dialer.New(h, dialer.Options{}, nil) }
func (h *testHost) Resolver() framework.Resolver { return h }
func (h *testHost) Dir() string                  { return "" }
func (h *testHost) Listen(context.Context, string) (net.Listener, error) {
	return nil, errors.ErrUnsupported
}
func (h *testHost) ListenPacket(context.Context, string) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}
func (h *testHost) Admission() framework.Admission { return nobody{} }
func (h *testHost) Count(_ string, n uint64) {
	h.counted.Add(n)
	h.some <- struct{}{}
}
func (h *testHost) Lookup(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func pairOf(t *testing.T, ds ...framework.Descriptor) []framework.Descriptor {
	t.Helper()
	remote, stop, err := Pair(ds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return remote
}

func yaml(t *testing.T, text string) *conf.Source {
	t.Helper()
	tree, err := conf.Parse("config.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Root().Source(conf.Loose, "name", "type")
}

func open(t *testing.T, d framework.Descriptor, h framework.Host, text string) framework.Outbound {
	t.Helper()
	o, err := framework.Build[framework.Outbound](t.Context(), d, h, yaml(t, text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// echo answers streams and packets with what they send.
func echo(t *testing.T) (stream, packets framework.Addr) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close(); pc.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.(*net.TCPConn).CloseWrite(); c.Close() }()
		}
	}()
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			pc.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return framework.AddrFrom(ln.Addr().(*net.TCPAddr).AddrPort()), framework.AddrFrom(pc.LocalAddr().(*net.UDPAddr).AddrPort())
}

func TestStreamGoesAcrossTheWire(t *testing.T) {
	t.Parallel()
	stream, _ := echo(t)
	d := pairOf(t, plainDescriptor())[0]
	for name, config := range map[string]string{"handed over": "port: 1", "through the socket": "{port: 1, wrap: true}"} {
		t.Run(name, func(t *testing.T) {
			o := open(t, d, newTestHost(), config)
			for _, to := range []framework.Addr{stream, {Host: "localhost", Port: stream.Port}} {
				c, err := o.DialStream(t.Context(), to)
				if err != nil {
					t.Fatal(err)
				}
				_, tcp := c.(*net.TCPConn)
				if want := name == "handed over"; tcp != want {
					t.Errorf("a socket of TCP: got %v, want %v", tcp, want)
				}
				c.SetDeadline(time.Now().Add(10 * time.Second))
				c.Write([]byte("hello"))
				c.(interface{ CloseWrite() error }).CloseWrite()
				if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
					t.Errorf("got %q, %v", got, err)
				}
				c.Close()
			}
		})
	}
}

func TestPacketsGoAcrossTheWire(t *testing.T) {
	t.Parallel()
	_, packets := echo(t)
	o := open(t, pairOf(t, plainDescriptor())[0], newTestHost(), "port: 1")
	c, err := o.DialPacket(t.Context(), packets)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for _, to := range []framework.Addr{packets, {Host: "localhost", Port: packets.Port}} {
		if _, err := c.WritePacket([]byte("ping"), to); err != nil {
			t.Fatal(err)
		}

		b := make([]byte, 100)
		n, from, err := c.ReadPacket(b)

		if err != nil || string(b[:n]) != "ping" || from != packets {
			t.Errorf("got %q from %s, %v", b[:n], from, err)
		}
	}
}

func TestErrorsKeepTheirClassAcrossTheWire(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := framework.AddrFrom(ln.Addr().(*net.TCPAddr).AddrPort())
	ln.Close()
	o := open(t, pairOf(t, plainDescriptor())[0], newTestHost(), "port: 1")

	_, err = o.DialStream(t.Context(), closed)
	if framework.Classify(err) != framework.ErrRefused || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want an error of class refused", err)
	}
	if _, err = o.DialStream(t.Context(), framework.Addr{Host: "panic.test", Port: 1}); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("got %v, want the panic as an error", err)
	}
}

func TestMistakesOfARemoteTypeHaveLines(t *testing.T) {
	t.Parallel()
	d := pairOf(t, plainDescriptor())[0]
	for _, c := range []struct{ name, text, want string }{
		{"schema", "name: x\nport: 99999\n", "config.yaml:2:7: port: 99999 is more than 65535"},
		{"missing", "name: x\n", `config.yaml:1:1: key "port" is missing`},
		{"shape", "port: 1\nlist: {a: b}\n", "config.yaml:2:7: list: want a list, got a map"},
		{"own check", "port: 1\nnested:\n  path: x\n", `config.yaml:3:9: nested.path: must begin with "/"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := d.Check(yaml(t, c.text))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	src := yaml(t, "port: 1\nwrod: x\n")
	if err := d.Check(src); err != nil || len(src.Warnings()) != 1 || !strings.Contains(src.Warnings()[0].String(), `did you mean "word"`) {
		t.Errorf("got %v, %v, want a warning with the nearest key", err, src.Warnings())
	}
}

func TestRemoteTypeReadsLooseSpellingAsOneInTheTreeDoes(t *testing.T) {
	t.Parallel()
	var got plainConfig
	d := framework.NewOutbound("plain", func() plainConfig { return plainConfig{Word: "default"} },
		func(_ context.Context, h framework.Host, c plainConfig) (framework.Outbound, error) {
			got = c
			return &plain{h, c}, nil
		})
	remote := pairOf(t, d)[0]

	open(t, remote, newTestHost(), "type: plain\nPort: \"80\"\nword: 0755\nlist: [1e10, yes]\nwrap: 'true'\n")

	if got.Port != 80 || got.Word != "0755" || len(got.List) != 2 || got.List[0] != "1e10" || !got.Wrap {
		t.Errorf("got %+v", got)
	}
	if remote.Label != d.Label || string(remote.Schema) == "" {
		t.Errorf("the description did not come along: %+v", remote)
	}
}

func TestCountsReachTheKernel(t *testing.T) {
	t.Parallel()
	stream, _ := echo(t)
	h := newTestHost()
	o := open(t, pairOf(t, plainDescriptor())[0], h, "port: 1")
	c, err := o.DialStream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	select {
	case <-h.some:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was counted")
	}
	if got := h.counted.Load(); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestCancelledDialReturnsAtOnce(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}), make(chan struct{})
	d := framework.NewOutbound("slow", func() plainConfig { return plainConfig{Port: 1} },
		func(context.Context, framework.Host, plainConfig) (framework.Outbound, error) {
			return slow{begun, ended}, nil
		})
	remote := pairOf(t, d)[0]
	o := open(t, remote, newTestHost(), "port: 1")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()

	_, err := o.DialStream(ctx, framework.Addr{Host: "a.test", Port: 1})

	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the plugin's dial goes on")
	}
}

type slow struct{ begun, ended chan struct{} }

func (s slow) DialStream(ctx context.Context, _ framework.Addr) (net.Conn, error) {
	close(s.begun)
	<-ctx.Done()
	close(s.ended)
	return nil, ctx.Err()
}
func (slow) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrUnsupported
}
func (slow) Close() error { return nil }

func TestPairLeavesNothingBehind(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	remote, stop, err := Pair(plainDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	o, err := framework.Build[framework.Outbound](t.Context(), remote[0], newTestHost(), yaml(t, "port: 1"))
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	o.Close()
	stop()
	stop()
	goleak.VerifyNone(t, ignore)

	if _, err := o.DialStream(t.Context(), framework.Addr{Host: "a.test", Port: 1}); framework.Classify(err) != framework.ErrUnavailable {
		t.Errorf("after the end: got %v, want class %v", err, framework.ErrUnavailable)
	}
}

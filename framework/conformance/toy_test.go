package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// toyConfig is the configuration of the toy.
type toyConfig struct {
	Server string           `yaml:"server" required:"true" doc:"ip:port of the server"`
	Secret framework.Secret `yaml:"secret" doc:"sent with each request"`
	Tries  int              `yaml:"tries" min:"1" max:"9" doc:"does nothing"`
	Words  []string         `yaml:"words" doc:"does nothing"`
}

const toyYAML = "{server: '%ADDR%', secret: right}"

// toy asks its server with a line, "secret host:port", and gets "ok", "who?" or
// "no". Packets go straight to their destination. The fields take the place of
// a behaviour where they are set.
type toy struct {
	host   framework.Host
	config toyConfig
	flaw
}

// flaw is what is wrong with a toy; the zero flaw is nothing.
type flaw struct {
	make   func(framework.Host, toyConfig)
	dial   func(context.Context, *toy, framework.Addr) (net.Conn, error)
	pack   func(context.Context, *toy, framework.Addr) (framework.PacketConn, error)
	stream func(net.Conn) net.Conn
	packet func(framework.PacketConn) framework.PacketConn
	close  func(*toy)
}

func (o *toy) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	dial := o.dial
	if dial == nil {
		dial = ask
	}
	c, err := dial(ctx, o, to)
	if err == nil && o.stream != nil {
		c = o.stream(c)
	}
	return c, err
}

func (o *toy) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	pack := o.pack
	if pack == nil {
		pack = func(ctx context.Context, o *toy, to framework.Addr) (framework.PacketConn, error) {
			return o.host.Dialer().DialPacket(ctx, to)
		}
	}
	c, err := pack(ctx, o, to)
	if err == nil && o.packet != nil {
		c = o.packet(c)
	}
	return c, err
}

func (o *toy) Close() error {
	if o.flaw.close != nil {
		o.flaw.close(o)
	}
	return nil
}

// server is the address that the toy dials.
func (o *toy) server() framework.Addr {
	at, err := netip.ParseAddrPort(o.config.Server)
	if err != nil {
		return framework.Addr{Host: "localhost", Port: 1}
	}
	return framework.AddrFrom(at)
}

// ask is the toy's dial as it should be.
func ask(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
	c, err := o.host.Dialer().DialStream(ctx, o.server())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	err = request(c, string(o.config.Secret), to)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = framework.Classed(framework.ErrTimeout, ctx.Err())
		}
		return nil, err
	}
	return c, nil
}

// request reads no byte past the answer's line.
func request(c net.Conn, secret string, to framework.Addr) error {
	if _, err := fmt.Fprintf(c, "%s %s\n", secret, to); err != nil {
		return err
	}
	var line []byte
	for b := make([]byte, 1); len(line) < 10; {
		if _, err := io.ReadFull(c, b); err != nil {
			return framework.Classed(framework.ErrProtocol, err)
		}
		if line = append(line, b[0]); b[0] == '\n' {
			break
		}
	}
	switch string(line) {
	case "ok\n":
		return nil
	case "no\n":
		return framework.ErrRefused
	case "who?\n":
		return framework.ErrAuth
	}
	return framework.Classed(framework.ErrProtocol, fmt.Errorf("answer %q", line))
}

func toyDescriptor(f flaw, opts ...framework.Option) framework.Descriptor {
	return framework.NewOutbound("toy", func() toyConfig { return toyConfig{Tries: 3} }, f.build,
		append([]framework.Option{framework.WithSummary("asks with a line"), framework.WithCaps(framework.CapPacket)}, opts...)...)
}

func (f flaw) build(_ context.Context, h framework.Host, c toyConfig) (framework.Outbound, error) {
	if f.make != nil {
		f.make(h, c)
	}
	return &toy{h, c, f}, nil
}

// toyServer serves the toy's protocol until the end of the test.
func toyServer(t testing.TB) framework.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serveToy(c) }) // ends with c or its destination
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
}

func serveToy(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	secret, to, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok {
		return
	}
	if secret != "right" {
		io.WriteString(c, "who?\n")
		return
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		io.WriteString(c, "no\n")
		return
	}
	defer out.Close()
	io.WriteString(c, "ok\n")
	var up sync.WaitGroup
	up.Go(func() { // ends with c
		io.Copy(out, r)
		out.(*net.TCPConn).CloseWrite()
	})
	if _, err := io.Copy(c, out); err != nil {
		out.Close()
	}
	c.(*net.TCPConn).CloseWrite()
	up.Wait()
}

func toyCase() Case {
	return Case{YAML: toyYAML, Server: toyServer, WrongSecret: strings.Replace(toyYAML, "right", "wrong", 1), Sample: "testdata/sample.yaml"}
}

func TestRightOutboundPasses(t *testing.T) {
	Outbound(t, toyDescriptor(flaw{}), toyCase())
}

func TestRightOutboundWithoutPacketsPasses(t *testing.T) {
	d := toyDescriptor(flaw{pack: func(context.Context, *toy, framework.Addr) (framework.PacketConn, error) {
		return nil, framework.Classed(framework.ErrUnsupported, errors.New("no packets"))
	}})
	d.Caps = nil
	s := &subject{d: d, outbound: toyCase(), server: toyServer(t), short: true, pace: usual}
	for r := range s.results(outboundChecks()) {
		for _, f := range r.Faults {
			t.Errorf("%s: %s", r.Name, f)
		}
	}
}

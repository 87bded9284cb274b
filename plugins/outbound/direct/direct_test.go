package direct

import (
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func host() outboundtest.Host {
	return outboundtest.Host{Via: dialer.New(outboundtest.Names{}, dialer.Options{}, nil)}
}

func TestDescriptorIsThePeers(t *testing.T) {
	t.Parallel()
	d := Descriptor()
	if d.Label != "Direct" || !d.Has(framework.CapPacket) || !d.Has(framework.CapDirect) || d.Has(framework.CapPass) {
		t.Errorf("got %+v", d)
	}
}

func TestStreamIsRaw(t *testing.T) {
	t.Parallel()
	o := outboundtest.Build(t, Descriptor(), host(), "{name: a, type: direct, udp: true}")

	c, err := o.DialStream(outboundtest.Context(t), outboundtest.Serve(t, outboundtest.Echo))

	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("got a %T, want a *net.TCPConn", c)
	}
	outboundtest.Talk(t, c)
}

func TestConnectionOutlivesTheOutbound(t *testing.T) {
	t.Parallel()
	o := outboundtest.Build(t, Descriptor(), host(), "{}")
	c, err := o.DialStream(outboundtest.Context(t), outboundtest.Serve(t, outboundtest.Echo))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	o.Close()

	outboundtest.Talk(t, c)
}

func TestPacketsGoToTheDestination(t *testing.T) {
	t.Parallel()
	peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	to := framework.AddrFrom(peer.LocalAddr().(*net.UDPAddr).AddrPort())
	o := outboundtest.Build(t, Descriptor(), host(), "{}")

	c, err := o.DialPacket(outboundtest.Context(t), to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WritePacket([]byte("hello"), to); err != nil {
		t.Fatal(err)
	}

	b := make([]byte, 16)
	peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _, err := peer.ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	outboundtest.Sample(t, Descriptor())
}

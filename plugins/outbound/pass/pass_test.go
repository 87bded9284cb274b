package pass

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestDescriptorsAreThePeers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d     framework.Descriptor
		label string
		does  framework.Cap
		not   framework.Cap
	}{
		{Descriptor(), "Pass", framework.CapPass, framework.CapPassRule},
		{Rule(), "PassRule", framework.CapPassRule, framework.CapPass},
	} {
		if c.d.Label != c.label || !c.d.Has(c.does) || c.d.Has(c.not) || !c.d.Has(framework.CapPacket) {
			t.Errorf("got %+v, want %s", c.d, c.label)
		}
	}
}

func TestPassThatIsDialledRefuses(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		o := outboundtest.Build(t, d, outboundtest.Host{}, "{}")

		_, stream := o.DialStream(outboundtest.Context(t), framework.Addr{Host: "a.test", Port: 1})
		_, packet := o.DialPacket(outboundtest.Context(t), framework.Addr{Host: "a.test", Port: 1})

		outboundtest.Is(t, stream, framework.ErrRejected)
		outboundtest.Is(t, packet, framework.ErrRejected)
	}
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		outboundtest.Sample(t, d)
	}
}

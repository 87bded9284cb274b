package pass

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestPassThatIsDialledRefuses(t *testing.T) {
	t.Parallel()
	d := Descriptor()
	if d.Label != "Pass" || !d.Has(framework.CapPass) || !d.Has(framework.CapPacket) {
		t.Errorf("got %+v", d)
	}
	o := outboundtest.Build(t, d, outboundtest.Host{}, "{}")

	_, stream := o.DialStream(outboundtest.Context(t), framework.Addr{Host: "a.test", Port: 1})
	_, packet := o.DialPacket(outboundtest.Context(t), framework.Addr{Host: "a.test", Port: 1})

	outboundtest.Is(t, stream, framework.ErrRejected)
	outboundtest.Is(t, packet, framework.ErrRejected)
}

package compatible

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestCompatibleGoesDirect(t *testing.T) {
	t.Parallel()
	d := Descriptor()
	if d.Label != "Compatible" || !d.Has(framework.CapPacket) || !d.Has(framework.CapDirect) {
		t.Errorf("got %+v", d)
	}
	h := outboundtest.Host{Via: dialer.New(outboundtest.Names{}, dialer.Options{}, nil)}
	o := outboundtest.Build(t, d, h, "{}")

	c, err := o.DialStream(outboundtest.Context(t), outboundtest.Serve(t, outboundtest.Echo))

	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	outboundtest.Talk(t, c)
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	outboundtest.Sample(t, Descriptor())
}

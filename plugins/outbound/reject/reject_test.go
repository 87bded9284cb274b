package reject

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var nowhere = framework.Addr{Host: "a.test", Port: 1}

func TestDescriptorsAreThePeers(t *testing.T) {
	t.Parallel()
	for i, want := range []string{"Reject", "RejectDrop"} {
		if d := Descriptors()[i]; d.Label != want || !d.Has(framework.CapPacket) {
			t.Errorf("got %+v, want %s", d, want)
		}
	}
}

func TestRejectSaysSo(t *testing.T) {
	t.Parallel()
	o := outboundtest.Build(t, Descriptor(), outboundtest.Host{}, "{}")

	_, stream := o.DialStream(outboundtest.Context(t), nowhere)
	_, packet := o.DialPacket(outboundtest.Context(t), nowhere)

	outboundtest.Is(t, stream, framework.ErrRejected)
	outboundtest.Is(t, packet, framework.ErrRejected)
}

// dropped is a stream of reject-drop.
func dropped(t *testing.T) net.Conn {
	t.Helper()
	o := outboundtest.Build(t, Drop(), outboundtest.Host{}, "{}")
	c, err := o.DialStream(context.Background(), nowhere)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDropIsSilentForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dropped(t)
		started := time.Now()
		if n, err := c.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
			t.Errorf("write: got %d, %v", n, err)
		}

		n, err := c.Read(make([]byte, 10))

		if n != 0 || err != io.EOF {
			t.Errorf("read: got %d, %v, want io.EOF", n, err)
		}
		if took := time.Since(started); took != time.Minute {
			t.Errorf("read returned after %v, want a minute", took)
		}
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("write after the end: got no error")
		}
	})
}

func TestDropObeysDeadlineAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dropped(t)
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		c.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { c.Close() })
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("read of a closed stream: got no error")
		}
		c.Close()
	})
}

func TestDropEndsWithItsClient(t *testing.T) {
	t.Parallel()
	c := dropped(t)

	c.(interface{ CloseWrite() error }).CloseWrite()

	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
}

func TestDropSwallowsPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outboundtest.Build(t, Drop(), outboundtest.Host{}, "{}")
		c, err := o.DialPacket(context.Background(), nowhere)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.WritePacket([]byte("hello"), nowhere); n != 5 || err != nil {
			t.Errorf("write: got %d, %v", n, err)
		}
		c.SetReadDeadline(time.Now().Add(time.Hour))
		if _, _, err := c.ReadPacket(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: got %v, want the deadline", err)
		}

		c.Close()
		c.Close()

		if _, _, err := c.ReadPacket(make([]byte, 1)); err != net.ErrClosed {
			t.Errorf("read: got %v, want net.ErrClosed", err)
		}
		if _, err := c.WritePacket([]byte("x"), nowhere); err != net.ErrClosed {
			t.Errorf("write: got %v, want net.ErrClosed", err)
		}
	})
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		outboundtest.Sample(t, d)
	}
}

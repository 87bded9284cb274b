package conformance

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func lifecycleChecks() []check {
	return []check{
		{"lifecycle/New uses no network", newUsesNoNetwork},
		{"lifecycle/an instance that was never used closes twice", unusedCloses},
		{"lifecycle/dials go through the host", dialsGoThroughHost},
		{"lifecycle/two instances share nothing", instancesShareNothing},
		{"lifecycle/a dial ends though Close comes in between", closeDuringDials},
		{"lifecycle/nothing is left after use and Close", nothingIsLeft},
	}
}

// newUsesNoNetwork looks at the host, and at the server: what is dialled after
// New must be the first that comes.
func newUsesNoNetwork(t *trial) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.fatalf("%v", err)
	}
	t.cleanup(func() { l.Close() })
	at := framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
	t.build(at)
	if n := t.host.used.Load(); n > 0 {
		t.errorf("New asked the host %d times for the network", n)
	}
	own := t.dialPlain(at)
	first, err := l.Accept()
	if err != nil {
		t.fatalf("%v", err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != own.LocalAddr().String() {
		t.errorf("New dialled the server")
	}
}

func unusedCloses(t *trial) {
	o := t.build(t.closed())
	for _, which := range []string{"first", "second"} {
		if !t.within(t.pace.step, func() { o.Close() }) {
			t.errorf("the %s Close does not return", which)
		}
	}
}

func dialsGoThroughHost(t *trial) {
	o := t.reaching()
	before := t.host.used.Load()
	c := t.connect(o, t.listen("127.0.0.1:0", hold))
	c.Close()
	if t.host.used.Load() == before {
		t.errorf("a stream was opened without Host.Dialer: dialer-proxy, interface-name and routing-mark would do nothing")
	}
}

func instancesShareNothing(t *trial) {
	if t.outbound.Nowhere {
		t.skipf("the type reaches no destination")
	}
	a, b := t.reaching(), t.reaching()
	to := t.listen("127.0.0.1:0", echo)
	t.talk(t.connect(a, to), "one")
	c := t.connect(b, to)
	t.talk(c, "two")
	a.Close()
	t.talk(c, "after the other was closed")
	t.talk(t.connect(b, to), "a later stream")
}

// closeDuringDials closes an instance while its server keeps silent. Dials end
// with their deadline at the latest.
func closeDuringDials(t *trial) {
	const life = 100 * time.Millisecond
	begun := make(chan struct{}, 100)
	at := t.listen("127.0.0.1:0", func(c *tcpConn) { begun <- struct{}{}; hold(c) })
	t.host.stall.Store(!t.needsServer())
	o := t.build(at)
	ctx, cancel := context.WithTimeout(context.Background(), life)
	t.cleanup(cancel)
	var dials sync.WaitGroup
	for range 4 {
		dials.Go(func() { // ends with the context
			defer t.guard()
			if c, err := o.DialStream(ctx, framework.Addr{Host: "localhost", Port: 9}); err == nil {
				c.Close()
			}
		})
	}
	if !t.outbound.Nowhere {
		select {
		case <-begun:
		case <-t.host.stalled:
		case <-ctx.Done():
		}
	}
	ended := t.within(t.pace.step, func() { o.Close() })
	ended = t.within(life+t.pace.step, dials.Wait) && ended
	if !ended {
		t.errorf("Close or a dial does not return")
	}
}

// nothingIsLeft leaves the looking to the end of every check.
func nothingIsLeft(t *trial) {
	o := t.reaching()
	to := t.listen("127.0.0.1:0", echo)
	for range 10 {
		c := t.connect(o, to)
		t.talk(c, "hello")
		c.Close()
		c.Close()
	}
	if !t.noPackets() {
		udp := t.echoPackets(func([]byte) bool { return true })
		for range 10 {
			c := t.associate(o, udp)
			c.WritePacket([]byte("hello"), udp)
			c.Close()
			c.Close()
		}
	}
	o.Close()
}

package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func packetChecks() []check {
	return []check{
		{"packet/boundaries and sizes are kept", packetSizes},
		{"packet/a host name is reached", packetToName},
		{"packet/several destinations answer as themselves", severalDestinations},
		{"packet/a long datagram is cut and the next one is whole", longPacketIsCut},
		{"packet/silence ends with the read deadline", packetSilence},
		{"packet/after Close reads and writes fail with net.ErrClosed", closedSession},
		{"packet/a session outlives the context of its dial", sessionOutlivesContext},
		{"packet/a type without packets says ErrUnsupported", noPacketsSaysSo},
	}
}

// noPackets says whether the configuration carries no packets. A case says so;
// of a process only the instance knows.
func (t *trial) noPackets() bool {
	if none := t.outbound.NoPackets || !t.d.Has(framework.CapPacket); none || !t.process {
		return none
	}
	carrier, ok := t.build(t.server).(framework.PacketCarrier)
	return ok && !carrier.CarriesPackets()
}

func (t *trial) carrying() framework.Outbound {
	if t.noPackets() {
		t.skipf("the type carries no packets")
	}
	return t.reaching()
}

func everyPacket([]byte) bool { return true }

// receive reads a datagram and checks whence it came.
func (t *trial) receive(c framework.PacketConn, from framework.Addr, want []byte) {
	b := make([]byte, 1<<16)
	n, at, err := c.ReadPacket(b)
	switch {
	case err != nil:
		t.fatalf("%d bytes from %s: %v", len(want), from, err)
	case !bytes.Equal(b[:n], want):
		t.errorf("got %d bytes %.40q, want %d bytes %.40q", n, b[:n], len(want), want)
	case at != from:
		t.errorf("a reply comes from %s, want %s", at, from)
	}
}

func (t *trial) send(c framework.PacketConn, b []byte, to framework.Addr) {
	if n, err := c.WritePacket(b, to); err != nil || n != len(b) {
		t.fatalf("send %d bytes: got %d, %v", len(b), n, err)
	}
}

func packetSizes(t *trial) {
	const most = 65507 // what UDP over IPv4 carries, RFC 768 and 791
	largest := most
	if t.outbound.MaxDatagram > 0 {
		largest = t.outbound.MaxDatagram
	}
	o := t.carrying()
	to := t.echoPackets(everyPacket)
	c := t.associate(o, to)
	for _, size := range []int{1, 1200, largest} {
		b := bytes.Repeat([]byte{byte(size)}, size)
		t.send(c, b, to)
		t.receive(c, to, b)
	}
	for i := range 10 { // together, so that none joins another
		t.send(c, fmt.Appendf(nil, "%0*d", i+1, i), to)
	}
	for i := range 10 {
		t.receive(c, to, fmt.Appendf(nil, "%0*d", i+1, i))
	}
}

func packetToName(t *trial) {
	o := t.carrying()
	at := t.echoPackets(everyPacket)
	to := framework.Addr{Host: "localhost", Port: at.Port}
	c := t.associate(o, to)
	t.send(c, []byte("by name"), to)
	b := make([]byte, 100)
	n, from, err := c.ReadPacket(b)
	if err != nil || string(b[:n]) != "by name" || from.Port != at.Port {
		t.errorf("got %q from %s, %v, want what was sent, from port %d", b[:n], from, err, at.Port)
	}
}

func severalDestinations(t *trial) {
	o := t.carrying()
	var to []framework.Addr
	for range 3 {
		to = append(to, t.echoPackets(everyPacket))
	}
	c := t.associate(o, to[0])
	for round := range 3 {
		for i, at := range to {
			b := fmt.Appendf(nil, "round %d, destination %d", round, i)
			t.send(c, b, at)
			t.receive(c, at, b)
		}
	}
}

func longPacketIsCut(t *trial) {
	o := t.carrying()
	to := t.echoPackets(everyPacket)
	c := t.associate(o, to)
	t.send(c, bytes.Repeat([]byte("a"), 1000), to)
	short := make([]byte, 10)
	if n, _, err := c.ReadPacket(short); err != nil || string(short[:n]) != "aaaaaaaaaa" {
		t.errorf("1,000 bytes into 10: got %q, %v", short[:n], err)
	}
	t.send(c, []byte("next"), to)
	t.receive(c, to, []byte("next"))
}

func packetSilence(t *trial) {
	o := t.carrying()
	to := t.echoPackets(func(b []byte) bool { return string(b) != "drop" })
	c := t.associate(o, to)
	t.send(c, []byte("drop"), to)
	c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	var err error
	if !t.within(t.pace.step, func() { _, _, err = c.ReadPacket(make([]byte, 100)) }) {
		t.fatalf("a read goes on after its deadline")
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.errorf("no answer came: got %v, want os.ErrDeadlineExceeded", err)
	}
	c.SetReadDeadline(time.Now().Add(t.pace.step))
	t.send(c, []byte("answer"), to)
	t.receive(c, to, []byte("answer"))
}

func closedSession(t *trial) {
	o := t.carrying()
	to := t.echoPackets(everyPacket)
	c := t.associate(o, to)
	c.SetReadDeadline(time.Time{}) // only Close is to end the read
	returned := make(chan error, 1)
	go func() { // ends with Close
		defer t.guard()
		_, _, err := c.ReadPacket(make([]byte, 100))
		returned <- err
	}()
	c.Close()
	select {
	case err := <-returned:
		if !errors.Is(err, net.ErrClosed) {
			t.errorf("a read that Close ended: got %v, want net.ErrClosed", err)
		}
	case <-time.After(t.pace.step):
		t.fatalf("a read goes on after Close")
	}
	if _, _, err := c.ReadPacket(make([]byte, 100)); !errors.Is(err, net.ErrClosed) {
		t.errorf("a read after Close: got %v, want net.ErrClosed", err)
	}
	if _, err := c.WritePacket([]byte("x"), to); !errors.Is(err, net.ErrClosed) {
		t.errorf("a write after Close: got %v, want net.ErrClosed", err)
	}
}

func sessionOutlivesContext(t *trial) {
	o := t.carrying()
	to := t.echoPackets(everyPacket)
	ctx, cancel := context.WithTimeout(context.Background(), t.pace.step)
	c, err := o.DialPacket(ctx, to)
	cancel()
	if err != nil {
		t.fatalf("%v", err)
	}
	t.cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(t.pace.step))
	t.send(c, []byte("the context of the dial has ended"), to)
	t.receive(c, to, []byte("the context of the dial has ended"))
}

func noPacketsSaysSo(t *trial) {
	if !t.noPackets() || t.outbound.Nowhere {
		t.skipf("the type carries packets, or reaches nothing")
	}
	server := t.server
	if !server.IsValid() {
		server = t.closed()
	}
	o := t.build(server)
	c, err := o.DialPacket(t.context(), framework.Addr{Host: "localhost", Port: 9})
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, framework.ErrUnsupported) {
		t.errorf("got %v, want class %v", err, framework.ErrUnsupported)
	}
	carrier, ok := o.(framework.PacketCarrier)
	if t.d.Has(framework.CapPacket) && (!ok || carrier.CarriesPackets()) {
		t.errorf("the type has CapPacket, and CarriesPackets does not say that this configuration carries none")
	}
}

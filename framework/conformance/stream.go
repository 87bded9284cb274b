package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

type tcpConn = net.TCPConn

func streamChecks() []check {
	return []check{
		{"stream/every form of address is reached", everyAddress},
		{"stream/a cancelled context ends the dial in 100 ms", cancelEndsDial},
		{"stream/an expired context ends the dial in 100 ms", expiryEndsDial},
		{"stream/a context that has ended dials nothing", endedContext},
		{"stream/a stream outlives the context of its dial", outlivesContext},
		{"stream/a server that refuses is ErrRefused", refusal},
		{"stream/a wrong secret is ErrAuth", wrongSecret},
		{"stream/bytes arrive whole in both directions at once", bulk},
		{"stream/half-close reaches the destination", halfCloseUp},
		{"stream/half-close reaches the client", halfCloseDown},
		{"stream/Close ends a read that waits", closeEndsRead},
		{"stream/deadlines are kept", deadlines},
		{"stream/writes of 1 byte and of 64 KiB arrive in order", writeSizes},
		{"stream/200 flows at once do not mix", manyFlows},
		{"stream/a type that reaches nothing says so", nowhereSaysSo},
	}
}

// dialPlain connects without the plugin.
func (t *trial) dialPlain(to framework.Addr) net.Conn {
	var d net.Dialer
	c, err := d.DialContext(t.context(), "tcp", to.String())
	if err != nil {
		t.fatalf("%v", err)
	}
	t.cleanup(func() { c.Close() })
	return c
}

// talk writes a text and wants it back.
func (t *trial) talk(c net.Conn, text string) {
	if err := converse(c, []byte(text)); err != nil {
		t.fatalf("%q did not come back: %v", text, err)
	}
}

func converse(c net.Conn, b []byte) error {
	if _, err := c.Write(b); err != nil {
		return err
	}
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, b) {
		return fmt.Errorf("got %.40q", got)
	}
	return nil
}

func everyAddress(t *trial) {
	o := t.reaching()
	four := t.listen("127.0.0.1:0", echo)
	t.talk(t.connect(o, four), "an IPv4 address")
	t.talk(t.connect(o, framework.Addr{Host: "localhost", Port: four.Port}), "a host name")
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		t.talk(t.connect(o, t.listen("[::1]:0", echo)), "an IPv6 address")
	}
}

func outlivesContext(t *trial) {
	o := t.reaching()
	to := t.listen("127.0.0.1:0", echo)
	ctx, cancel := context.WithTimeout(context.Background(), t.pace.step)
	c, err := o.DialStream(ctx, to)
	cancel()
	if err != nil {
		t.fatalf("%v", err)
	}
	t.cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(t.pace.step))
	t.talk(c, "the context of the dial has ended")
}

func closeEndsRead(t *trial) {
	c := t.connect(t.reaching(), t.listen("127.0.0.1:0", hold))
	c.SetDeadline(time.Time{}) // only Close is to end the read
	returned := make(chan error, 1)
	go func() { // ends with Close
		defer t.guard()
		_, err := c.Read(make([]byte, 1))
		returned <- err
	}()
	c.Close()
	select {
	case err := <-returned:
		if err == nil {
			t.errorf("a read of a closed stream has no error")
		}
	case <-time.After(t.pace.step):
		t.errorf("a read goes on after Close")
	}
}

func deadlines(t *trial) {
	o := t.reaching()
	c := t.connect(o, t.listen("127.0.0.1:0", echo))
	c.SetDeadline(time.Time{})
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	var err error
	if !t.within(t.pace.step, func() { _, err = c.Read(make([]byte, 1)) }) {
		t.fatalf("a read goes on after its deadline")
	}
	var timeout net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.errorf("a read past its deadline: got %v, want os.ErrDeadlineExceeded", err)
	}
	c.SetReadDeadline(time.Now().Add(t.pace.step))
	t.talk(c, "after the deadline was moved")
	t.writeDeadline(t.connect(o, t.listen("127.0.0.1:0", unread)))
}

// writeDeadline writes to a destination that does not read.
func (t *trial) writeDeadline(c net.Conn) {
	c.SetDeadline(time.Time{})
	c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	var err error
	if !t.within(t.pace.step, func() {
		for b := make([]byte, 1<<20); err == nil; {
			_, err = c.Write(b)
		}
	}) {
		t.fatalf("a write goes on after its deadline")
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.errorf("a write past its deadline: got %v, want os.ErrDeadlineExceeded", err)
	}
}

// unread keeps a connection without reading, until the check closes it.
func unread(c *tcpConn) {
	if raw, err := c.SyscallConn(); err == nil {
		raw.Read(func(uintptr) bool { return false })
	}
}

func writeSizes(t *trial) {
	c := t.connect(t.reaching(), t.listen("127.0.0.1:0", echo))
	for range 200 {
		if err := converse(c, []byte{7}); err != nil {
			t.fatalf("a byte: %v", err)
		}
	}
	block := bytes.Repeat([]byte("0123456789abcde"), 64<<10/15+1)[:64<<10]
	for range 16 {
		var running sync.WaitGroup
		running.Go(func() { // ends with the write
			defer t.guard()
			if _, err := c.Write(block); err != nil {
				t.errorf("64 KiB: %v", err)
			}
		})
		got := make([]byte, len(block))
		_, err := io.ReadFull(c, got)
		running.Wait()
		if err != nil || !bytes.Equal(got, block) {
			t.fatalf("64 KiB came back changed: %v", err)
		}
	}
}

// manyFlows opens all flows before any of them speaks.
func manyFlows(t *trial) {
	const flows = 200
	o := t.reaching()
	to := t.listen("127.0.0.1:0", echo)
	var open, done sync.WaitGroup
	open.Add(flows)
	for i := range flows {
		done.Go(func() { // ends with the flow
			defer t.guard()
			c, err := o.DialStream(t.context(), to)
			open.Done()
			if err != nil {
				t.errorf("flow %d: %v", i, err)
				return
			}
			defer c.Close()
			open.Wait()
			c.SetDeadline(time.Now().Add(t.pace.step))
			for n := range 5 {
				if err := converse(c, fmt.Appendf(nil, "flow %d, message %d", i, n)); err != nil {
					t.errorf("flow %d: %v", i, err)
					return
				}
			}
		})
	}
	done.Wait()
}

package conformance

import (
	"context"
	"io"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func faultChecks() []check {
	var list []check
	for _, h := range hostile() {
		list = append(list, check{"faults/" + h.story, func(t *trial) { survives(t, h.handle) }})
	}
	return list
}

// hostile servers do not speak the protocol. Each ends with its connection.
func hostile() []struct {
	story  string
	handle func(*tcpConn)
} {
	return []struct {
		story  string
		handle func(*tcpConn)
	}{
		{"a server that hangs up ends the dial", func(*tcpConn) {}},
		{"a server that resets the handshake ends the dial", func(c *tcpConn) {
			c.Read(make([]byte, 1))
			c.SetLinger(0)
		}},
		{"a server that keeps silent ends the dial", hold},
		{"a server that answers garbage ends the dial", func(c *tcpConn) {
			c.Write([]byte("\xff\xfe\x00garbage \x05\xff\x16\x03\r\n\r\n\x00\x01\x02\x03"))
			hold(c)
		}},
		{"a server that answers zeros ends the dial", func(c *tcpConn) {
			go hold(c) // ends with c
			pourBytes(c, make([]byte, 4<<10))
		}},
		{"a server that floods garbage ends the dial", func(c *tcpConn) {
			b := make([]byte, 64<<10)
			for i := range b {
				b[i] = byte(i*7 + i>>8)
			}
			pourBytes(c, b)
		}},
		{"a server that sends 1 byte a second ends the dial", trickle},
	}
}

// pourBytes writes b until the connection ends.
func pourBytes(w io.Writer, b []byte) {
	for {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// trickle sends a byte at once and then one each second: less than it takes to
// look dead, and more than it takes to end.
func trickle(c *tcpConn) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	ended := make(chan struct{})
	go func() { // ends with c
		defer close(ended)
		hold(c)
	}()
	for b := byte(5); ; b = 0 {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// brief is the deadline of dials and streams through hostile servers. Chosen:
// room for a handshake, little enough for many checks.
const brief = 60 * time.Millisecond

// survives dials through a hostile server. The dial ends with its deadline at
// the latest. A protocol without a handshake gives a stream, whose reads and
// writes then end.
func survives(t *trial, handle func(*tcpConn)) {
	switch {
	case t.outbound.Nowhere:
		t.skipf("the type reaches no destination")
	case !t.needsServer():
		t.skipf("the type has no server")
	}
	o := t.build(t.listen("127.0.0.1:0", handle))
	for _, d := range t.dials(o) {
		took := t.quickest(d, nil, func(<-chan struct{}) (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), brief)
		})
		if took > prompt {
			t.errorf("%s: returned %v after its deadline, want at most %v", d.what, took.Round(time.Millisecond), prompt)
		}
	}
	if !t.within(t.pace.step, func() { useBriefly(o) }) {
		t.errorf("a stream through the server hangs beyond its deadline")
	}
}

// useBriefly reads and writes until something fails.
func useBriefly(o framework.Outbound) {
	ctx, cancel := context.WithTimeout(context.Background(), brief)
	defer cancel()
	c, err := o.DialStream(ctx, framework.Addr{Host: "localhost", Port: 9})
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(brief))
	io.WriteString(c, "hello")
	io.Copy(io.Discard, struct{ io.Reader }{c})
}

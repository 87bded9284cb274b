package conformance

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// closer is a stream that can end one direction.
type closer interface{ CloseWrite() error }

func (t *trial) halfClose(c net.Conn) {
	h, ok := c.(closer)
	if !ok {
		t.fatalf("a %T has no CloseWrite", c)
	}
	if err := h.CloseWrite(); err != nil {
		t.fatalf("CloseWrite: %v", err)
	}
}

// halfCloseUp ends the client's side; the answer comes after.
func halfCloseUp(t *trial) {
	o := t.halfClosing()
	to := t.listen("127.0.0.1:0", func(c *tcpConn) {
		c.SetDeadline(time.Now().Add(t.pace.step))
		got, err := io.ReadAll(c)
		fmt.Fprintf(c, "%s %v", got, err)
	})
	c := t.connect(o, to)
	io.WriteString(c, "question")
	t.halfClose(c)
	if got, err := io.ReadAll(c); err != nil || string(got) != "question <nil>" {
		t.errorf("the destination answers %q, %v after its client's half-close, want %q", got, err, "question <nil>")
	}
}

// halfCloseDown ends the destination's side; the client still speaks.
func halfCloseDown(t *trial) {
	o := t.halfClosing()
	arrived := make(chan string, 1)
	to := t.listen("127.0.0.1:0", func(c *tcpConn) {
		c.SetDeadline(time.Now().Add(t.pace.step))
		io.WriteString(c, "answer")
		c.CloseWrite()
		got, err := io.ReadAll(c)
		arrived <- fmt.Sprint(string(got), " ", err)
	})
	c := t.connect(o, to)
	if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
		t.errorf("got %q, %v, want the answer and its end", got, err)
	}
	if _, err := io.WriteString(c, "late"); err != nil {
		t.errorf("a write after the destination's half-close: %v", err)
	}
	t.halfClose(c)
	if got := <-arrived; got != "late <nil>" {
		t.errorf("the destination got %q, want %q", got, "late <nil>")
	}
}

func (t *trial) halfClosing() framework.Outbound {
	if t.outbound.NoHalfClose {
		t.skipf("the protocol has no half-close")
	}
	return t.reaching()
}

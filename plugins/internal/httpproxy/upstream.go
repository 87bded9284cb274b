package httpproxy

import (
	"context"
	"net"

	"github.com/culvert-proxy/culvert/framework"
)

// upstream is a flow that plain requests of one client go through, one after
// the other, and the Replier of that flow.
type upstream struct {
	near   *pipe
	in     reader
	flow   framework.Flow
	dialed chan error // how the dial ended; holds one
}

// open begins a flow whose first bytes are first, which it owns.
func (c *session) open(ctx context.Context, first []byte) *upstream {
	near, far := newPipe(net.TCPAddrFromAddrPort(c.Local), net.TCPAddrFromAddrPort(c.Source))
	u := &upstream{near: near, flow: c.flow, dialed: make(chan error, 1)}
	u.in = reader{src: near, wait: near, pools: &c.server.pools}
	go func() { // ends with the dial
		c.server.Handler.HandleStream(ctx, framework.Stream{Conn: far, Head: first, Client: u}, &u.flow)
		u.Reply(framework.ErrUnavailable) // for a flow that ended before its dial
	}()
	return u
}

// Reply takes the dial's end, as framework.Replier says; only the first counts.
func (u *upstream) Reply(err error) error {
	select {
	case u.dialed <- err:
	default:
	}
	return nil
}

// fits says whether u takes another request of f: the same server for the same
// user, and not a byte or an end from it since the last answer.
func (u *upstream) fits(f *framework.Flow) bool {
	return u.flow.Destination == f.Destination && u.flow.Inbound.User == f.Inbound.User && u.in.buffered() == 0 && u.near.quiet()
}

func (u *upstream) close() {
	u.near.Close()
	u.in.release()
}

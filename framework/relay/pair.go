package relay

import (
	"net"
	"sync/atomic"
)

// Pair is the stats.Killer of a stream: it closes both of its connections.
type Pair struct {
	client, server net.Conn
	killed         atomic.Bool
}

// NewPair makes the Killer of a flow between client and server, to be given to
// stats.Open before Stream runs. It takes no ownership.
func NewPair(client, server net.Conn) *Pair { return &Pair{client: client, server: server} }

// Kill closes both connections, so that a Stream that runs or starts later
// ends with net.ErrClosed. It does not block: a connection that wraps another
// and shows it with NetConn loses that one, without the farewell that could
// stall on a full socket. It may be called twice and from any goroutine.
func (p *Pair) Kill() {
	if p.killed.Swap(true) {
		return
	}
	cut(p.client)
	cut(p.server)
}

func cut(c net.Conn) {
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		inner := w.NetConn()
		if inner == nil {
			break
		}
		c = inner
	}
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		c.Close()
	default:
		go c.Close() // ends when Close returns, which may take its protocol's time
	}
}

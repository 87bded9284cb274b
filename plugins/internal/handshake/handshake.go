// Package handshake is what an outbound does on a connection before the tunnel
// is open: TLS when it is configured, then the protocol's own exchange, all
// bounded by time and context. Protocols do plain reads and writes inside.
package handshake

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Timeout is the longest that a handshake may take, as in the peer
// (config-proxies.md §2).
const Timeout = 5 * time.Second

// Do runs talk, which reads and writes c, until it returns, Timeout is over or
// ctx ends; the latter two make its reads and writes fail at once. The error
// has a class. On success c has no deadline; on failure the caller closes c.
func Do(ctx context.Context, c net.Conn, talk func() error) error {
	end := time.Now().Add(Timeout)
	if at, ok := ctx.Deadline(); ok && at.Before(end) {
		end = at
	}
	if err := c.SetDeadline(end); err != nil {
		return Classed(err)
	}
	stop := watch(ctx, c)
	err := talk()
	if !stop() { // the deadline may move at any time: c is of no use
		return Classed(ctx.Err())
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	return Classed(err)
}

// watch makes c time out when ctx ends. Its result says whether ctx did not.
func watch(ctx context.Context, c net.Conn) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

// Classed gives err a class: its own, or ErrProtocol, as what a server does
// that is neither silence nor refusal is not what the protocol says.
func Classed(err error) error {
	if err == nil {
		return nil
	}
	class := framework.Classify(err)
	switch {
	case class != nil:
	case errors.Is(err, context.Canceled):
		class = framework.ErrTimeout
	default:
		class = framework.ErrProtocol
	}
	return framework.Classed(class, err)
}

package dialer

import (
	"context"
	"net"
	"net/netip"
	"time"
)

const (
	// headStart is how long the first family has the line to itself. RFC 8305
	// §5 recommends 250 ms, the peer and Go's net use 300.
	headStart = 300 * time.Millisecond
	// minShare is the least that one address of several gets of what time is
	// left, as in Go's net.
	minShare = 2 * time.Second
)

// try is one dial to the addresses of one name.
type try struct {
	p          *plan
	port       uint16
	concurrent bool
}

type result struct {
	c   *net.TCPConn
	err error
}

// race tries the addresses of first, and those of second headStart later or
// when first has failed. The losers have ended when it returns.
func (t *try) race(ctx context.Context, first, second []netip.Addr) (*net.TCPConn, error) {
	if len(second) == 0 {
		return t.family(ctx, first)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan struct{})
	entrants := []func() (*net.TCPConn, error){
		func() (*net.TCPConn, error) {
			defer close(failed)
			return t.family(ctx, first)
		},
		func() (*net.TCPConn, error) {
			wait(ctx, failed)
			return t.family(ctx, second)
		},
	}
	return firstOf(cancel, entrants)
}

// wait returns after headStart, or earlier when the first family has ended.
func wait(ctx context.Context, ended <-chan struct{}) {
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
	}
}

// family tries addresses of one family, or all when families do not matter.
func (t *try) family(ctx context.Context, ips []netip.Addr) (*net.TCPConn, error) {
	if len(ips) == 1 {
		return t.p.dial(ctx, netip.AddrPortFrom(ips[0], t.port))
	}
	if t.concurrent {
		return t.all(ctx, ips)
	}
	var first error
	for i, ip := range ips {
		c, err := t.p.dial(share(ctx, len(ips)-i), netip.AddrPortFrom(ip, t.port))
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// share gives the next of n addresses its part of the time that is left.
func share(ctx context.Context, n int) context.Context {
	end, ok := ctx.Deadline()
	if !ok || n == 1 {
		return ctx
	}
	return withDeadline(ctx, max(minShare, time.Until(end)/time.Duration(n)))
}

// all tries all addresses at once.
func (t *try) all(ctx context.Context, ips []netip.Addr) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	entrants := make([]func() (*net.TCPConn, error), len(ips))
	for i, ip := range ips {
		entrants[i] = func() (*net.TCPConn, error) { return t.p.dial(ctx, netip.AddrPortFrom(ip, t.port)) }
	}
	return firstOf(cancel, entrants)
}

// firstOf runs the entrants at once, cancels at the first success, waits for
// all, and closes what came late. When all fail it returns the error of the
// first entrant, which is the one that users expect to read about.
func firstOf(cancel func(), entrants []func() (*net.TCPConn, error)) (*net.TCPConn, error) {
	type place struct {
		i int
		result
	}
	finish := make(chan place, len(entrants))
	for i, run := range entrants {
		go func() { // ends when its dial ends; cancel hastens that
			c, err := run()
			finish <- place{i, result{c, err}}
		}()
	}
	var winner *net.TCPConn
	var first error
	for range entrants {
		r := <-finish
		switch {
		case r.err != nil && r.i == 0:
			first = r.err
		case r.err != nil:
		case winner == nil:
			winner = r.c
			cancel()
		default:
			r.c.Close()
		}
	}
	if winner != nil {
		return winner, nil
	}
	return nil, first
}

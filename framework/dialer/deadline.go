package dialer

import (
	"context"
	"time"
)

// deadline is a context with an earlier end and no timer of its own: the
// socket's deadline does the waiting, so that a dial to an address starts
// neither timer nor goroutine. Its Done does not close at the end, so it is
// for this package's dials only.
type deadline struct {
	context.Context
	at   time.Time
	done <-chan struct{} // the parent's, or one that never closes
}

// withDeadline bounds ctx to d from here, unless it ends earlier anyhow.
func withDeadline(ctx context.Context, d time.Duration) context.Context {
	at := time.Now().Add(d)
	if end, ok := ctx.Deadline(); ok && end.Before(at) {
		return ctx
	}
	done := ctx.Done()
	if done == nil { // package net looks at the deadline only of a context with Done
		done = make(chan struct{})
	}
	return &deadline{ctx, at, done}
}

// Deadline is the earlier end.
func (c *deadline) Deadline() (time.Time, bool) { return c.at, true }

// Done closes when the parent's does.
func (c *deadline) Done() <-chan struct{} { return c.done }

// Err is the parent's error, or DeadlineExceeded after the end.
func (c *deadline) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.at) {
		return context.DeadlineExceeded
	}
	return nil
}

// AfterFunc runs f when the parent ends. Package context calls it in place of
// starting a goroutine that waits for Done.
func (c *deadline) AfterFunc(f func()) (stop func() bool) {
	if c.Context.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(c.Context, f)
}

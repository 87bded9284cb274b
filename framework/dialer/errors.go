package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/culvert-proxy/culvert/framework"
)

// dialError says what was dialled and why that failed, with a class. Package
// net repeats the address and names the system call; a user needs neither.
func dialError(network string, to framework.Addr, err error) error {
	class := framework.Classify(err)
	switch {
	case class != nil:
	case errors.Is(err, context.Canceled):
		class = framework.ErrTimeout
	default: // a local reason: no such interface, not permitted, out of descriptors
		class = framework.ErrUnreachable
	}
	return framework.Classed(class, fmt.Errorf("dial %s %s: %w", network, to, cause(err)))
}

// cause is err without the wrappers of package net.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "connect" {
		err = call.Err
	}
	return err
}

// contextError prefers the context's error, which says who ended the dial, to
// what package net makes of it.
func contextError(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	return err
}

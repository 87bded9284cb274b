package framework

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// The classes of dial errors. They decide what a client is told, what a group
// does next, and the `reason` label of a metric. Test with errors.Is.
var (
	ErrRefused     = errors.New("refused")        // the destination or server said no
	ErrTimeout     = errors.New("timeout")        // no answer in time
	ErrUnreachable = errors.New("unreachable")    // no route, or the name has no address
	ErrAuth        = errors.New("authentication") // the server did not take our credentials
	ErrProtocol    = errors.New("protocol")       // the peer did not speak the protocol
	ErrUnsupported = errors.New("unsupported")    // this outbound cannot do that
	ErrUnavailable = errors.New("unavailable")    // the plugin is not running
	ErrRejected    = errors.New("rejected")       // policy: the flow is refused on purpose
)

// Other errors of the contract.
var (
	ErrUnchanged = errors.New("unchanged")    // Fetch: the last document stands
	ErrNotMember = errors.New("not a member") // Select: no such member
)

var classes = [...]error{ErrRefused, ErrTimeout, ErrUnreachable, ErrAuth, ErrProtocol, ErrUnsupported, ErrUnavailable, ErrRejected}

// Classify says which class err belongs to: one of the dial classes, or nil
// for nil and for an error that fits none. Errors of net and os are known.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	for _, c := range classes {
		if errors.Is(err, c) {
			return c
		}
	}
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return ErrTimeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return ErrRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return ErrUnreachable
	case errors.As(err, &dns):
		if dns.IsTimeout {
			return ErrTimeout
		}
		return ErrUnreachable
	case errors.As(err, &timeout) && timeout.Timeout():
		return ErrTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrProtocol
	}
	return nil
}

// Classed wraps err so that errors.Is finds class, and keeps err's text.
func Classed(class, err error) error {
	if err == nil || errors.Is(err, class) {
		return err
	}
	return &classed{class, err}
}

type classed struct{ class, err error }

func (c *classed) Error() string   { return c.err.Error() }
func (c *classed) Unwrap() []error { return []error{c.class, c.err} }

// Secret is a configuration value that prints as *** everywhere.
type Secret string

// String hides the value; convert to string to use it.
func (Secret) String() string { return "***" }

// GoString hides the value from %#v.
func (Secret) GoString() string { return `"***"` }

// MarshalText hides the value from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// FieldError is a mistake at a path such as "ws-opts.headers.Host". Validate
// returns one, or several through errors.Join.
type FieldError struct{ Path, Msg string }

func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }

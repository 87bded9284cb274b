package wire

import (
	"errors"
	"strconv"

	"github.com/culvert-proxy/culvert/framework"
)

// Status is how a request ended: 0, or the number of an error class. Numbers
// are never used again.
type Status uint8

// The statuses.
const (
	OK Status = iota
	Refused
	Timeout
	Unreachable
	Auth
	Protocol
	Unsupported
	Unavailable
	Rejected
	Other Status = 255 // an error of no class; what is unknown counts as this
)

var classes = [...]error{
	Refused: framework.ErrRefused, Timeout: framework.ErrTimeout, Unreachable: framework.ErrUnreachable,
	Auth: framework.ErrAuth, Protocol: framework.ErrProtocol, Unsupported: framework.ErrUnsupported,
	Unavailable: framework.ErrUnavailable, Rejected: framework.ErrRejected,
}

// StatusOf is the number for err.
func StatusOf(err error) Status {
	if err == nil {
		return OK
	}
	class := framework.Classify(err)
	for i, c := range classes {
		if c != nil && c == class {
			return Status(i)
		}
	}
	return Other
}

// Err is the error that s and its text stand for, nil for OK.
func (s Status) Err(text string) error {
	if s == OK {
		return nil
	}
	if text == "" {
		text = "the plugin answered " + strconv.Itoa(int(s))
	}
	err := errors.New(text)
	if int(s) < len(classes) {
		return framework.Classed(classes[s], err)
	}
	return err
}

package dialer

import (
	"fmt"
	"syscall"
)

// socket is what is set on a socket before it connects.
type socket struct {
	device   string
	mark     int
	fastOpen bool
}

type control func(network, address string, c syscall.RawConn) error

// streamControl sets all options; nil when there are none, which spares each
// dial a call.
func (s socket) streamControl() control {
	if s == (socket{}) {
		return nil
	}
	return s.control
}

// packetControl is streamControl for a socket that has no fast open.
func (s socket) packetControl() control {
	s.fastOpen = false
	return s.streamControl()
}

func (s socket) control(network, _ string, c syscall.RawConn) error {
	var err error
	if failed := c.Control(func(fd uintptr) { err = s.set(fd, network) }); failed != nil {
		return failed
	}
	return err
}

func (s socket) set(fd uintptr, network string) error {
	if s.device != "" {
		if err := bindToInterface(fd, network, s.device); err != nil {
			return fmt.Errorf("bind to interface %s: %w", s.device, err)
		}
	}
	if s.mark != 0 {
		if err := setMark(fd, s.mark); err != nil {
			return fmt.Errorf("set mark %d: %w", s.mark, err)
		}
	}
	if s.fastOpen {
		setFastOpen(fd) // a system without it connects the usual way
	}
	return nil
}

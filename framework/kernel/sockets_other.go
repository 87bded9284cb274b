//go:build !linux

package kernel

import (
	"errors"
	"net"
	"syscall"
)

// sharePortOf is for Linux, where a socket may be told after it was bound.
func sharePortOf(syscall.RawConn, bool) error { return errors.ErrUnsupported }

func takeQueue(*net.TCPListener) []net.Conn { return nil }

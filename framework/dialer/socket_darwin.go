package dialer

import (
	"errors"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

var errMark = errors.New("routing-mark is not supported on this system")

func bindToInterface(fd uintptr, network, name string) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	if strings.HasSuffix(network, "6") {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, i.Index)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BOUND_IF, i.Index)
}

func setMark(uintptr, int) error { return errMark }

// setFastOpen does nothing: fast open here needs connectx, which package net
// does not call.
func setFastOpen(uintptr) {}

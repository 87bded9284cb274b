//go:build !linux && !darwin

package dialer

import "errors"

var (
	errInterface = errors.New("interface-name is not supported on this system")
	errMark      = errors.New("routing-mark is not supported on this system")
)

func bindToInterface(uintptr, string, string) error { return errInterface }

func setMark(uintptr, int) error { return errMark }

func setFastOpen(uintptr) {}

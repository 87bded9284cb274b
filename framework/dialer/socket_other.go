//go:build !linux && !darwin

package dialer

func bindToInterface(uintptr, string, string) error { return errInterface }

func setMark(uintptr, int) error { return errMark }

func setFastOpen(uintptr) {}

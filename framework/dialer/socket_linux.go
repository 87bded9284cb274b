package dialer

import "golang.org/x/sys/unix"

func bindToInterface(fd uintptr, _, name string) error { return unix.BindToDevice(int(fd), name) }

func setMark(fd uintptr, mark int) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
}

func setFastOpen(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
}

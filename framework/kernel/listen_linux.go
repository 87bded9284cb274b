package kernel

import "syscall"

// tcpFastOpen is TCP_FASTOPEN of linux/tcp.h, which package syscall lacks.
const tcpFastOpen = 23

// fastOpen lets a listening socket take data in the SYN. A system that refuses
// listens without.
func fastOpen(network, _ string, c syscall.RawConn) error {
	if network[:3] != "tcp" {
		return nil
	}
	return c.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpFastOpen, 256) // 256 pending: the kernel's own bound is lower
	})
}

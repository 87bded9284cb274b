package kernel

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// soReusePort is SO_REUSEPORT of asm-generic/socket.h, which package syscall
// lacks on some architectures.
const soReusePort = 15

func sharePortOf(c syscall.RawConn, on bool) error {
	value := 0
	if on {
		value = 1
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, value)
	})
	if err != nil {
		return err
	}
	return failed
}

// takeQueue accepts who has connected to l, which closes then. Meanwhile
// nobody connects to it: a client that tries does so again a second later, and
// finds who listens there by then.
func takeQueue(l *net.TCPListener) (queue []net.Conn) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil
	}
	dropAll := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	raw.Control(func(fd uintptr) {
		// Best effort: without it a client in a thousand closings is reset.
		unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &dropAll)
		for {
			n, _, err := syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			f := os.NewFile(uintptr(n), "")
			if c, err := net.FileConn(f); err == nil {
				queue = append(queue, c)
			}
			f.Close()
		}
	})
	return queue
}

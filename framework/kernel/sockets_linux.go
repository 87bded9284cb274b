package kernel

import (
	"net"
	"os"
	"syscall"
	"time"

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

// handshakes is how long a closing socket waits for clients whose SYN it has
// answered; chosen: a round trip in the own network, and far less than the
// second after which a client whose SYN was dropped sends it again.
const handshakes = 20 * time.Millisecond

// noSYN is a filter for a listening socket that drops who begins to connect:
// the flags of TCP are its byte 13, SYN is 0x02 and ACK 0x10.
func noSYN() *unix.SockFprog {
	f := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
}

// takeQueue accepts who has connected to l, or is about to; l closes then.
// Meanwhile nobody else begins to: a client that tries does so again a second
// later, and finds who listens there by then.
func takeQueue(l *net.TCPListener) (queue []net.Conn) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil
	}
	raw.Control(func(fd uintptr) {
		// Best effort: without it a client in a thousand closings is reset.
		unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, noSYN())
		for end := time.Now().Add(handshakes); ; time.Sleep(time.Millisecond) {
			queue = append(queue, acceptAll(int(fd))...)
			if time.Now().After(end) {
				return
			}
		}
	})
	return queue
}

// acceptAll accepts who has connected.
func acceptAll(fd int) (conns []net.Conn) {
	for {
		n, _, err := syscall.Accept4(fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return conns
		}
		f := os.NewFile(uintptr(n), "")
		if c, err := net.FileConn(f); err == nil {
			conns = append(conns, c)
		}
		f.Close()
	}
}

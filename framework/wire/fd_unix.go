//go:build unix

package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// passesDescriptors says whether a descriptor can go over a Unix socket.
const passesDescriptors = true

var errNotSocket = errors.New("the descriptor is no socket of the kind that was asked for")

// sendDescriptor writes b with the descriptor of c attached to its first byte.
// c stays open on this side.
func sendDescriptor(to *net.UnixConn, b []byte, c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	control := raw.Control(func(fd uintptr) {
		n, _, err = to.WriteMsgUnix(b, syscall.UnixRights(int(fd)), nil)
	})
	if err == nil {
		err = control
	}
	if err == nil && n < len(b) {
		_, err = to.Write(b[n:])
	}
	return err
}

// receive fills b from c and returns the first descriptor that comes with it,
// -1 for none; others are closed.
func receive(c net.Conn, b []byte) (fd int, err error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		_, err := io.ReadFull(c, b)
		return -1, err
	}
	var oob [64]byte
	n, oobn, _, _, err := u.ReadMsgUnix(b, oob[:])
	fd = firstDescriptor(oob[:oobn])
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err == nil {
		_, err = io.ReadFull(c, b[n:])
	}
	if err != nil && fd >= 0 {
		syscall.Close(fd)
		fd = -1
	}
	return fd, err
}

func firstDescriptor(oob []byte) int {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	first := -1
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if first < 0 {
				first = fd
				continue
			}
			syscall.Close(fd)
		}
	}
	return first
}

// streamOf makes a connection of a descriptor, which it takes ownership of.
func streamOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "stream")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, errNotSocket
	}
	switch c.(type) {
	case *net.TCPConn:
		return c, nil
	case *net.UnixConn:
		if c.LocalAddr().Network() == "unix" {
			return c, nil
		}
	}
	c.Close()
	return nil, errNotSocket
}

// packetsOf makes a UDP socket of a descriptor, which it takes ownership of.
func packetsOf(fd int) (*net.UDPConn, error) {
	f := os.NewFile(uintptr(fd), "packets")
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, errNotSocket
	}
	if u, ok := c.(*net.UDPConn); ok {
		return u, nil
	}
	c.Close()
	return nil, errNotSocket
}

// drop closes a descriptor that nobody asked for.
func drop(fd int) {
	if fd >= 0 {
		syscall.Close(fd)
	}
}

// awaitHangup returns true when the peer of c closes, and false when it sends
// something, which stays to be read, or c's read deadline passes.
func awaitHangup(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	var b [1]byte
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		switch err {
		case nil:
			gone = n == 0
			return true
		case syscall.EAGAIN, syscall.EINTR:
			return false
		}
		gone = true
		return true
	})
	return err == nil && gone
}

// socketPair is two ends of a stream of this process.
func socketPair() (a, b net.Conn, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if a, err = streamOf(fds[0]); err != nil {
		syscall.Close(fds[1])
		return nil, nil, err
	}
	if b, err = streamOf(fds[1]); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

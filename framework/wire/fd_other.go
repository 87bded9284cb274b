//go:build !unix

package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// passesDescriptors says whether a descriptor can go over a Unix socket.
const passesDescriptors = false

var errNoPassing = errors.New("this system cannot pass descriptors over a socket")

func sendDescriptor(*net.UnixConn, []byte, syscall.Conn) error { return errNoPassing }

func receive(c net.Conn, b []byte) (fd int, err error) {
	_, err = io.ReadFull(c, b)
	return -1, err
}

func streamOf(int) (net.Conn, error)      { return nil, errNoPassing }
func packetsOf(int) (*net.UDPConn, error) { return nil, errNoPassing }
func drop(int)                            {}
func awaitHangup(net.Conn) bool           { return false }

// socketPair is two ends of a stream of this process.
func socketPair() (a, b net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	if b, err = ln.Accept(); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

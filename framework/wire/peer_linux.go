package wire

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// checkPeer refuses a Unix connection from, or to, another user.
func checkPeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var cred *syscall.Ucred
	control := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = control
	}
	if err == nil && int(cred.Uid) != os.Geteuid() {
		err = fmt.Errorf("the peer is user %d, want %d", cred.Uid, os.Geteuid())
	}
	return err
}

//go:build !linux

package wire

import "net"

// checkPeer trusts the private directory and the token: this system does not
// say who is at the other end.
func checkPeer(net.Conn) error { return nil }

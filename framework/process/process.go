// Package process finds the program on this machine that owns a socket, by the
// socket's addresses. On Linux it asks the kernel for the socket (sock_diag)
// and looks for it among the open files of the processes; elsewhere it says
// that it cannot. What a rule makes of a program is the rule's business.
package process

import (
	"errors"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
)

// Errors of Find.
var (
	// ErrNotFound says that no socket of this machine has the addresses.
	ErrNotFound = errors.New("no process owns the connection")
	// ErrUnsupported says that the system has no way to find owners here.
	ErrUnsupported = errors.New("process lookup is not built for this system")
)

// Query is what is known of a socket from outside.
type Query struct {
	Network framework.Network
	Source  netip.AddrPort // the socket's own address
	Peer    netip.AddrPort // what it is connected to; of a UDP socket it need not be
}

// Find finds the owner of a socket. The answer may lack the path: what runs as
// another user shows its user only. Safe for concurrent use.
func (f *Finder) Find(q Query) (framework.Process, error) {
	q.Source = netip.AddrPortFrom(q.Source.Addr().Unmap().WithZone(""), q.Source.Port())
	q.Peer = netip.AddrPortFrom(q.Peer.Addr().Unmap().WithZone(""), q.Peer.Port())
	if !q.Source.IsValid() || q.Source.Port() == 0 {
		return framework.Process{UID: -1}, ErrNotFound
	}
	return f.find(q)
}

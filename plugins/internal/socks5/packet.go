package socks5

import (
	"errors"

	"github.com/culvert-proxy/culvert/framework"
)

// MaxHeader is the length in bytes of the longest header of a datagram.
const MaxHeader = 3 + MaxAddr

var (
	errFragment = framework.Classed(framework.ErrUnsupported, errors.New("socks datagram is a fragment"))
	errReserved = framework.Classed(framework.ErrProtocol, errors.New("socks datagram does not start with zeros"))
)

// AppendHeader appends the header of a datagram to or from a, RFC 1928 §7:
//
//	00 00 | frag 00 | type address port | payload …
//
// It fails as AppendAddr does.
func AppendHeader(b []byte, a framework.Addr) ([]byte, error) {
	full, err := AppendAddr(append(b, 0, 0, 0), a)
	if err != nil {
		return b, err
	}
	return full, nil
}

// ParseHeader reads the header of the datagram b: its payload is b[n:]. A
// fragment is an error, as RFC 1928 §7 lets those do that do not join them.
// The rest is as with ParseAddr.
func ParseHeader(b []byte, names *Names) (a framework.Addr, n int, err error) {
	if len(b) < 3 {
		return a, 0, ErrShort
	}
	if b[0] != 0 || b[1] != 0 {
		return a, 0, errReserved
	}
	if b[2] != 0 {
		return a, 0, errFragment
	}
	a, n, err = ParseAddr(b[3:], names)
	return a, n + 3, err
}

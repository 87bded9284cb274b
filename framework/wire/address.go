package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
)

// The types of an address, as in RFC 1928.
const (
	typeIPv4 = 1
	typeName = 3
	typeIPv6 = 4
)

var (
	errAddress = errors.New("malformed address")
	errName    = errors.New("host name of 0 or more than 255 bytes")
	errShort   = errors.New("message is cut short")
)

// AppendAddr writes an address:
//
//	type 1B | 4 bytes, 16 bytes, or length 1B and name | port 2B
//
// Numbers are big-endian. A name has 1 to 255 bytes.
func AppendAddr(b []byte, a framework.Addr) ([]byte, error) {
	switch {
	case a.Host != "":
		if len(a.Host) > 255 {
			return b, errName
		}
		b = append(b, typeName, byte(len(a.Host)))
		b = append(b, a.Host...)
	case a.IP.Is4():
		ip := a.IP.As4()
		b = append(append(b, typeIPv4), ip[:]...)
	case a.IP.Is6():
		ip := a.IP.As16()
		b = append(append(b, typeIPv6), ip[:]...)
	default:
		return b, errName
	}
	return binary.BigEndian.AppendUint16(b, a.Port), nil
}

// ParseAddr reads an address and returns the bytes after it. known is a name
// that is taken instead of a new string when it is the same; it may be empty.
func ParseAddr(b []byte, known string) (a framework.Addr, rest []byte, err error) {
	if len(b) < 2 {
		return a, nil, errShort
	}
	kind, size := b[0], 0
	switch b = b[1:]; kind {
	case typeIPv4:
		size = 4
	case typeIPv6:
		size = 16
	case typeName:
		if size, b = int(b[0]), b[1:]; size == 0 {
			return a, nil, errName
		}
	default:
		return a, nil, errAddress
	}
	if len(b) < size+2 {
		return a, nil, errShort
	}
	switch kind {
	case typeIPv4:
		a.IP = netip.AddrFrom4([4]byte(b))
	case typeIPv6:
		a.IP = netip.AddrFrom16([16]byte(b)).Unmap()
	default:
		if a.Host = known; string(b[:size]) != known {
			a.Host = string(b[:size])
		}
	}
	a.Port = binary.BigEndian.Uint16(b[size:])
	return a, b[size+2:], nil
}

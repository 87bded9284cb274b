package socks5

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/destination"
)

// Address types, RFC 1928 §4.
const (
	typeIPv4 = 1
	typeName = 3
	typeIPv6 = 4
)

// MaxAddr is the length in bytes of the longest address on the wire.
const MaxAddr = 1 + 1 + 255 + 2

// ErrShort says that an address or a header goes on past the given bytes.
var ErrShort = framework.Classed(framework.ErrProtocol, errors.New("socks address is cut short"))

var (
	errType   = framework.Classed(framework.ErrProtocol, errors.New("socks address type is unknown"))
	errName   = framework.Classed(framework.ErrUnsupported, errors.New("host name is longer than 255 bytes"))
	errNoAddr = framework.Classed(framework.ErrUnsupported, errors.New("address has neither host nor ip"))
)

// AppendAddr appends a as type, address, port. It fails for a name longer than
// 255 bytes and for the zero Addr, with ErrUnsupported and b unchanged.
func AppendAddr(b []byte, a framework.Addr) ([]byte, error) {
	ip := a.IP.Unmap()
	switch {
	case a.Host != "":
		if len(a.Host) > 255 {
			return b, errName
		}
		b = append(append(b, typeName, byte(len(a.Host))), a.Host...)
	case ip.Is4():
		raw := ip.As4()
		b = append(append(b, typeIPv4), raw[:]...)
	case ip.Is6():
		raw := ip.As16()
		b = append(append(b, typeIPv6), raw[:]...)
	default:
		return b, errNoAddr
	}
	return binary.BigEndian.AppendUint16(b, a.Port), nil
}

// ParseAddr reads an address from the start of b; n is its length. ErrShort
// says that b ends too early, every other error that the bytes are wrong. It
// does not keep b and allocates for names only, unless names knows them; names
// may be nil.
func ParseAddr(b []byte, names *Names) (a framework.Addr, n int, err error) {
	if len(b) < 2 {
		return a, 0, ErrShort
	}
	n = addrLen(b[0], b[1])
	if n == 0 {
		return a, 0, errType
	}
	if len(b) < n {
		return a, 0, ErrShort
	}
	port := binary.BigEndian.Uint16(b[n-2:])
	switch b[0] {
	case typeIPv4:
		return destination.IP(netip.AddrFrom4([4]byte(b[1:5])), port), n, nil
	case typeIPv6:
		return destination.IP(netip.AddrFrom16([16]byte(b[1:17])), port), n, nil
	}
	a, err = names.addr(b[2:n-2], port)
	return a, n, err
}

// addrLen is the length of an address from its type and the byte after, or 0.
func addrLen(typ, next byte) int {
	switch typ {
	case typeIPv4:
		return 1 + 4 + 2
	case typeIPv6:
		return 1 + 16 + 2
	case typeName:
		return 1 + 1 + int(next) + 2
	}
	return 0
}

// Names remembers the last host names, so that a datagram to a known one costs
// no allocation. The zero value is ready; it is for one goroutine. A nil Names
// remembers nothing.
type Names struct {
	seed  maphash.Seed
	slots [64]name // chosen: the names that the clients of a port use at a time
}

type name struct {
	raw  string
	addr framework.Addr // its port is 0
}

func (t *Names) addr(raw []byte, port uint16) (framework.Addr, error) {
	if t == nil {
		return destination.New(string(raw), port)
	}
	if t.seed == (maphash.Seed{}) {
		t.seed = maphash.MakeSeed()
	}
	s := &t.slots[maphash.Bytes(t.seed, raw)%uint64(len(t.slots))]
	if s.raw != string(raw) || s.raw == "" {
		text := string(raw)
		a, err := destination.New(text, 0)
		if err != nil {
			return a, err
		}
		*s = name{text, a}
	}
	a := s.addr
	a.Port = port
	return a, nil
}

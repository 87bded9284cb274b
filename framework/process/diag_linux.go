package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/culvert-proxy/culvert/framework"
)

// Numbers of linux/netlink.h, sock_diag.h and inet_diag.h that package syscall
// does not have.
const (
	sockDiagByFamily  = 20
	inetDiagReqByte   = 1  // attribute: a filter
	diagPortAtLeast   = 2  // filter: the source port is at least the next one
	diagPortAtMost    = 3  // filter: … at most
	requestSize       = 56 // inet_diag_req_v2
	answerSize        = 72 // inet_diag_msg
	headerSize        = syscall.NLMSG_HDRLEN
	stateEstablished  = 1
	stateSynSent      = 2
	stateFinWait1     = 4
	stateFinWait2     = 5
	stateClose        = 7 // also each UDP socket that is not connected
	stateCloseWait    = 8
	statesWithAClient = 1<<stateEstablished | 1<<stateSynSent | 1<<stateFinWait1 | 1<<stateFinWait2 | 1<<stateClose | 1<<stateCloseWait
)

// socket is what the kernel says of one.
type socket struct {
	source, peer netip.AddrPort
	uid, inode   uint32
}

// lookup asks for the socket of q. A TCP socket is asked for by all of its
// addresses. UDP sockets need not be connected, so those at the port are listed
// and the best is taken.
func lookup(q Query) (socket, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_INET_DIAG)
	if err != nil {
		return socket{}, fmt.Errorf("open sock_diag: %w", err)
	}
	defer syscall.Close(fd)
	timeout := syscall.Timeval{Sec: 1} // chosen: the kernel answers at once or is in trouble
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout); err != nil {
		return socket{}, err
	}
	if q.Network == framework.TCP && q.Peer.IsValid() && q.Peer.Addr().BitLen() == q.Source.Addr().BitLen() {
		s, ok, err := ask(fd, request(q, family(q.Source.Addr()), false), q)
		if ok || err != nil && !errors.Is(err, syscall.ENOENT) {
			return s, err
		}
		return socket{}, ErrNotFound
	}
	for _, fam := range []uint8{family(q.Source.Addr()), syscall.AF_INET6} { // an IPv6 socket may carry IPv4
		s, ok, err := ask(fd, request(q, fam, true), q)
		if ok || err != nil {
			return s, err
		}
		if fam == syscall.AF_INET6 {
			break
		}
	}
	return socket{}, ErrNotFound
}

func family(ip netip.Addr) uint8 {
	if ip.Is4() {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

// request is a message that asks for one socket, or lists those at the source
// port (linux/inet_diag.h):
//
//	nlmsghdr 16 · family protocol ext pad states 4+4 ·
//	sport 2 dport 2 src 16 dst 16 interface 4 cookie 8 · [attribute: the filter]
func request(q Query, fam uint8, list bool) []byte {
	b := make([]byte, headerSize+requestSize, headerSize+requestSize+20)
	ne := binary.NativeEndian
	ne.PutUint16(b[4:], sockDiagByFamily)
	flags := uint16(syscall.NLM_F_REQUEST)
	if list {
		flags |= syscall.NLM_F_DUMP
	}
	ne.PutUint16(b[6:], flags)
	r := b[headerSize:]
	r[0], r[1] = fam, syscall.IPPROTO_TCP
	if q.Network == framework.UDP {
		r[1] = syscall.IPPROTO_UDP
	}
	ne.PutUint32(r[4:], statesWithAClient)
	for i := range 8 {
		r[48+i] = 0xff // no cookie
	}
	if list {
		b = append(b, portFilter(q.Source.Port())...)
	} else {
		binary.BigEndian.PutUint16(r[8:], q.Source.Port())
		binary.BigEndian.PutUint16(r[10:], q.Peer.Port())
		copy(r[12:28], q.Source.Addr().AsSlice())
		copy(r[28:44], q.Peer.Addr().AsSlice())
	}
	ne.PutUint32(b, uint32(len(b)))
	return b
}

// portFilter is an attribute with a program that passes one source port. Each
// step says how far to go on when it holds and when not; four bytes beyond the
// end refuses.
func portFilter(port uint16) []byte {
	step := func(b []byte, code, yes byte, no uint16) []byte {
		return binary.NativeEndian.AppendUint16(append(b, code, yes), no)
	}
	b := binary.NativeEndian.AppendUint16(nil, 20)
	b = binary.NativeEndian.AppendUint16(b, inetDiagReqByte)
	b = step(b, diagPortAtLeast, 8, 20)
	b = step(b, 0, 0, port)
	b = step(b, diagPortAtMost, 8, 12)
	return step(b, 0, 0, port)
}

// ask sends a request and takes the best of the answers.
func ask(fd int, request []byte, q Query) (best socket, found bool, err error) {
	if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return best, false, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 32<<10)
	rank := 0
	for {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return best, false, os.NewSyscallError("recvfrom", err)
		}
		more, err := eachMessage(buf[:n], func(s socket) {
			if r := fits(s, q); r > rank {
				best, rank = s, r
			}
		})
		if err != nil || !more {
			return best, rank > 0, err
		}
	}
}

// eachMessage reads the messages of one datagram. more is true when a list
// goes on.
func eachMessage(b []byte, f func(socket)) (more bool, err error) {
	ne := binary.NativeEndian
	for len(b) >= headerSize {
		size := int(ne.Uint32(b))
		if size < headerSize || size > len(b) {
			return false, syscall.EBADMSG
		}
		body := b[headerSize:size]
		multi := ne.Uint16(b[6:])&syscall.NLM_F_MULTI != 0
		switch ne.Uint16(b[4:]) {
		case syscall.NLMSG_DONE:
			return false, nil
		case syscall.NLMSG_ERROR:
			if len(body) < 4 {
				return false, syscall.EBADMSG
			}
			return false, syscall.Errno(-int32(ne.Uint32(body)))
		case sockDiagByFamily:
			if s, ok := parse(body); ok {
				f(s)
			}
			more = multi
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return more, nil
}

// parse reads an answer:
//
//	family state timer retrans · sport 2 dport 2 src 16 dst 16 interface 4
//	cookie 8 · expires 4 rqueue 4 wqueue 4 uid 4 inode 4
func parse(b []byte) (s socket, ok bool) {
	if len(b) < answerSize {
		return s, false
	}
	address := func(at int) netip.Addr {
		if b[0] == syscall.AF_INET {
			return netip.AddrFrom4([4]byte(b[at:]))
		}
		return netip.AddrFrom16([16]byte(b[at:])).Unmap()
	}
	be, ne := binary.BigEndian, binary.NativeEndian
	s.source = netip.AddrPortFrom(address(8), be.Uint16(b[4:]))
	s.peer = netip.AddrPortFrom(address(24), be.Uint16(b[6:]))
	s.uid, s.inode = ne.Uint32(b[64:]), ne.Uint32(b[68:])
	return s, s.inode != 0
}

// fits ranks how well a socket fits a query: 0 is not at all.
func fits(s socket, q Query) int {
	if s.source.Port() != q.Source.Port() {
		return 0
	}
	rank := 1
	switch {
	case s.source.Addr() == q.Source.Addr():
		rank += 2
	case !s.source.Addr().IsUnspecified():
		return 0
	}
	switch {
	case s.peer == q.Peer:
		rank++
	case s.peer.Port() != 0 && q.Peer.IsValid():
		return 0
	}
	return rank
}

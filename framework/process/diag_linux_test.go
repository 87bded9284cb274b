package process

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
)

// FuzzMessages holds the reader of the kernel's answers to any bytes.
func FuzzMessages(f *testing.F) {
	message := func(typ uint16, body []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(headerSize+len(body)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		return append(append(b, make([]byte, 10)...), body...)
	}
	answer := make([]byte, answerSize)
	answer[0], answer[answerSize-1] = syscall.AF_INET, 1
	f.Add(message(sockDiagByFamily, answer))
	f.Add(message(syscall.NLMSG_ERROR, []byte{0xfe, 0xff, 0xff, 0xff}))
	f.Add(append(message(sockDiagByFamily, answer), message(syscall.NLMSG_DONE, nil)...))
	f.Add([]byte{17, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		more, err := eachMessage(b, func(s socket) {
			if s.inode == 0 {
				t.Fatal("a socket without a number")
			}
			fits(s, Query{Source: netip.MustParseAddrPort("127.0.0.1:1")})
		})
		if more && err != nil {
			t.Fatal("an error, and more to come")
		}
	})
}

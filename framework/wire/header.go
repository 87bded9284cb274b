package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// The networks of a Header. Lookup asks the kernel for the addresses of a name.
const (
	NetworkTCP    uint8 = 1
	NetworkUDP    uint8 = 2
	NetworkLookup uint8 = 3
)

// Types of the options in a Header and in a Reply. What is unknown is skipped.
const (
	optDescriptor uint16 = 1 // Header: may be answered with a descriptor. Reply: one is attached
	optAddress    uint16 = 2 // Reply to a Lookup: 4 or 16 bytes; stands once for each address
)

const (
	maxHeader = 1<<16 - 1 // bytes after the length
	fixedSize = 4 + 16 + 1 + 16 + 4
	prefix    = 3 // version or status, and length
)

var errToken = errors.New("wrong token")

// Header begins each connection of the data and of the host channel:
//
//	version 1B | length 2B | handle 4B | flow id 16B | network 1B | token 16B |
//	timeout ms 4B | destination | options: type 2B, length 2B, value …
//
// length counts what follows it. Numbers are big-endian.
type Header struct {
	Handle     uint32 // the instance
	Flow       [16]byte
	Network    uint8
	Token      Token
	Timeout    time.Duration // of the dial, in whole ms; 0 is none
	To         framework.Addr
	Descriptor bool // the answer may be a descriptor
}

// Append writes h.
func (h *Header) Append(b []byte) ([]byte, error) {
	start := len(b)
	b = append(b, Version, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.Handle)
	b = append(b, h.Flow[:]...)
	b = append(b, h.Network)
	b = append(b, h.Token[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(min(h.Timeout.Milliseconds(), 1<<32-1)))
	b, err := AppendAddr(b, h.To)
	if err != nil {
		return b[:start], err
	}
	if h.Descriptor {
		b = appendOption(b, optDescriptor, nil)
	}
	binary.BigEndian.PutUint16(b[start+1:], uint16(len(b)-start-prefix))
	return b, nil
}

// Parse reads what follows the length of a header.
func (h *Header) Parse(b []byte) error {
	if len(b) < fixedSize {
		return errShort
	}
	h.Handle = binary.BigEndian.Uint32(b)
	h.Flow = [16]byte(b[4:])
	h.Network = b[20]
	h.Token = Token(b[21:])
	h.Timeout = time.Duration(binary.BigEndian.Uint32(b[37:])) * time.Millisecond
	h.Descriptor = false
	to, rest, err := ParseAddr(b[fixedSize:], "")
	if err != nil {
		return err
	}
	h.To = to
	return eachOption(rest, func(typ uint16, _ []byte) {
		h.Descriptor = h.Descriptor || typ == optDescriptor
	})
}

// shortest is the length of the shortest header: a name of one byte, or any
// other that is at least as long.
const shortest = prefix + fixedSize + 5

// ReadHeader reads a header from r, and no byte more.
func ReadHeader(r io.Reader, h *Header) error {
	var space [512]byte
	head := space[:shortest]
	if n, err := io.ReadFull(r, head); err != nil {
		if n > 0 && head[0] != Version {
			return fmt.Errorf("header of version %d, want %d", head[0], Version)
		}
		return err
	}
	if head[0] != Version {
		return fmt.Errorf("header of version %d, want %d", head[0], Version)
	}
	size := prefix + int(binary.BigEndian.Uint16(head[1:]))
	if size < shortest {
		return errShort
	}
	b := append(head, make([]byte, size-shortest)...)
	if _, err := io.ReadFull(r, b[shortest:]); err != nil {
		return err
	}
	return h.Parse(b[prefix:])
}

// Reply answers a Header:
//
//	status 1B | length 2B | text length 2B | text | options: type 2B, length 2B, value …
//
// length counts what follows it.
type Reply struct {
	Status     Status
	Text       string   // for a log, in the words of an error
	Addrs      [][]byte // of a Lookup: 4 or 16 bytes each
	Descriptor bool     // a descriptor is attached to the first byte
}

// maxText bounds the text of a reply. Chosen: an error, not a document.
const maxText = 1024

// Append writes r.
func (r *Reply) Append(b []byte) []byte {
	start := len(b)
	text := r.Text[:min(len(r.Text), maxText)]
	b = append(b, byte(r.Status), 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	b = append(b, text...)
	if r.Descriptor {
		b = appendOption(b, optDescriptor, nil)
	}
	for _, a := range r.Addrs[:min(len(r.Addrs), 64)] {
		b = appendOption(b, optAddress, a)
	}
	binary.BigEndian.PutUint16(b[start+1:], uint16(len(b)-start-prefix))
	return b
}

// Parse reads what follows the length of a reply whose status is s.
func (r *Reply) Parse(s Status, b []byte) error {
	*r = Reply{Status: s}
	if len(b) < 2 {
		return errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) < n {
		return errShort
	}
	r.Text = printable(b[:min(n, maxText)])
	return eachOption(b[n:], func(typ uint16, value []byte) {
		switch {
		case typ == optDescriptor:
			r.Descriptor = true
		case typ == optAddress && (len(value) == 4 || len(value) == 16):
			r.Addrs = append(r.Addrs, value)
		}
	})
}

// printable keeps a plugin's text from steering a terminal.
func printable(b []byte) string {
	out := []rune(string(b))
	for i, c := range out {
		if c < ' ' || c == 0x7f {
			out[i] = ' '
		}
	}
	return string(out)
}

func appendOption(b []byte, typ uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// eachOption calls f with each option in b.
func eachOption(b []byte, f func(typ uint16, value []byte)) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return errShort
		}
		typ, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if b = b[4:]; len(b) < n {
			return errShort
		}
		f(typ, b[:n])
		b = b[n:]
	}
	return nil
}

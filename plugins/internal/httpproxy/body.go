package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
)

var errChunk = errors.New("malformed http chunk")

// maxChunkLine bounds a chunk's size with its extensions, which nobody uses.
const maxChunkLine = 4 << 10

// body copies one body from in to out and changes its framing where the two
// sides' differ.
type body struct {
	in     *reader
	out    io.Writer
	from   framing
	chunks bool // out gets chunks
	strict bool // as with head.read
	moved  func()

	line  []byte
	size  [20]byte
	parts [3][]byte
	vec   net.Buffers
}

// copy returns when the body is at its end. An error of in is wrapped in
// readError, so that the two sides can be told apart.
func (b *body) copy() error {
	b.in.large = true
	defer func() { b.in.large = false }()
	var err error
	switch b.from.kind {
	case byLength:
		return b.span(b.from.length)
	case byChunks:
		return b.dechunk()
	case byClose:
		err = b.span(-1)
	}
	if err == nil && b.chunks {
		_, err = io.WriteString(b.out, "0\r\n\r\n")
	}
	return err
}

// readError is an error of the side that a body comes from.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// span copies n bytes, or with -1 all until the end.
func (b *body) span(n int64) error {
	for n != 0 {
		p, err := b.in.next()
		if err == io.EOF && n < 0 {
			return nil
		}
		if err != nil {
			return readError{noEOF(err)}
		}
		if n > 0 {
			p = p[:min(int64(len(p)), n)]
			n -= int64(len(p))
		}
		if err := b.write(p); err != nil {
			return err
		}
		b.in.discard(len(p))
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// write sends p, as a chunk where chunks are spoken, in one call.
func (b *body) write(p []byte) error {
	b.moved()
	if !b.chunks {
		_, err := b.out.Write(p)
		return err
	}
	size := append(strconv.AppendUint(b.size[:0], uint64(len(p)), 16), "\r\n"...)
	b.parts = [3][]byte{size, p, size[len(size)-2:]}
	b.vec = b.parts[:]
	_, err := b.vec.WriteTo(b.out)
	return err
}

// dechunk copies chunks and the trailer: RFC 9112 §7.1.
func (b *body) dechunk() error {
	for {
		size, err := b.chunkSize()
		if err != nil {
			return readError{noEOF(err)}
		}
		if size == 0 {
			return b.trailer()
		}
		if err := b.span(size); err != nil {
			return err
		}
		b.line, err = b.in.line(b.line[:0], 2)
		if err != nil {
			return readError{noEOF(err)}
		}
		if end, ok := cutEnd(b.line, b.strict); !ok || len(end) > 0 {
			return readError{errChunk}
		}
	}
}

func (b *body) chunkSize() (int64, error) {
	var err error
	if b.line, err = b.in.line(b.line[:0], maxChunkLine); err != nil {
		return 0, err
	}
	text, ok := cutEnd(b.line, b.strict)
	text, extension, _ := bytes.Cut(text, []byte(";"))
	if !b.strict {
		text = bytes.Trim(text, " \t")
	}
	if !ok || len(text) == 0 || len(text) > 15 || !isValue(extension) {
		return 0, errChunk
	}
	var n int64
	for _, c := range text {
		digit := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
		if digit < 0 || c < '0' {
			return 0, errChunk
		}
		n = n<<4 | int64(digit)
	}
	return n, nil
}

// trailer copies the fields after the last chunk.
func (b *body) trailer() error {
	h := b.in.pools.head()
	defer b.in.pools.giveHead(h)
	h.buf = append(h.buf[:0], "\r\n"...) // in place of a first line
	for {
		start := len(h.buf)
		var err error
		if h.buf, err = b.in.line(h.buf, maxHead); err != nil {
			return readError{noEOF(err)}
		}
		line, ok := cutEnd(h.buf[start:], b.strict)
		if !ok {
			return readError{errChunk}
		}
		if len(line) == 0 {
			break
		}
	}
	if err := h.parse(b.strict); err != nil {
		return readError{err}
	}
	if !b.chunks {
		return nil
	}
	h.out = append(h.out[:0], "0\r\n"...)
	h.out = append(h.appendFields(h.out, false), "\r\n"...)
	_, err := b.out.Write(h.out)
	return err
}

package ruleset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// The bounds of an mrs file once it is unpacked. Chosen: ten times a list of a
// million names; the window is the largest that the usual compressors use.
const (
	maxUnpacked = 256 << 20
	maxWindow   = 32 << 20
)

var errNoTree = fmt.Errorf("%w: its bits are no tree of names", ErrFormat)

// magic begins an unpacked mrs file: "MRS" and the version.
const magic = "MRS\x01"

// readMRS reads an mrs file (config-rules.md §7). Lengths are believed only as
// far as bytes have come, so that a short file cannot ask for much memory.
func readMRS(b Behavior, r io.Reader) (*Set, error) {
	s := &Set{Behavior: b}
	err := openMRS(b, r, func(in *mrsReader, count int) (err error) {
		if b == Domain {
			s.Domains, err = in.domains(count)
			return err
		}
		s.Prefixes, err = in.prefixes(count)
		return err
	})
	return s, err
}

// openMRS reads what stands before and behind the body, which body reads.
func openMRS(b Behavior, r io.Reader, body func(r *mrsReader, count int) error) error {
	if b == Classical {
		return errClassicalMRS
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	in := &mrsReader{bufio.NewReaderSize(&bounded{r: z, left: maxUnpacked}, 64<<10)}
	count, err := in.head(b)
	if err == nil {
		err = body(in, count)
	}
	if err == nil {
		if _, err = in.ReadByte(); err == nil {
			return fmt.Errorf("%w: bytes follow the set", ErrFormat)
		}
		if err == io.EOF { // not an error of the checksum, for one
			return nil
		}
	}
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrFormat):
		return err
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: it ends early", ErrFormat)
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

type mrsReader struct{ *bufio.Reader }

// head reads what is before the body, and returns the number of entries.
func (r *mrsReader) head(b Behavior) (count int, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	if string(head[:4]) != magic {
		return 0, fmt.Errorf("%w: no version 1 header", ErrFormat)
	}
	if head[4] != byte(b) {
		return 0, fmt.Errorf("%w: its behavior is %d, not %s", ErrFormat, head[4], b)
	}
	if count, err = r.length(0, 1<<40); err != nil {
		return 0, err
	}
	extra, err := r.length(0, maxUnpacked)
	if err != nil {
		return 0, err
	}
	if _, err := r.Discard(extra); err != nil {
		return 0, err
	}
	switch v, err := r.ReadByte(); {
	case err != nil:
		return 0, err
	case v != 1:
		return 0, fmt.Errorf("%w: body version %d", ErrFormat, v)
	}
	return count, nil
}

// length reads an int64 and checks its range.
func (r *mrsReader) length(low, high int) (int, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint64(b[:]))
	if n < int64(low) || n > int64(high) {
		return 0, fmt.Errorf("%w: length %d is not in %d to %d", ErrFormat, n, low, high)
	}
	return int(n), nil
}

// louds reads a tree. Each part bounds the next one: n words of leaves are up
// to 64·n nodes, which have two bits each.
func (r *mrsReader) louds() (*louds, error) {
	var l louds
	n, err := r.length(1, maxUnpacked/8)
	if err != nil {
		return nil, err
	}
	if l.leaves, err = r.words(n, 1<<15); err != nil {
		return nil, err
	}
	m, err := r.length(1, 2*n)
	if err != nil {
		return nil, err
	}
	if l.edges, err = r.words(m, m); err != nil {
		return nil, err
	}
	k, err := r.length(1, 64*n)
	if err != nil {
		return nil, err
	}
	l.labels = make([]byte, k)
	_, err = io.ReadFull(r, l.labels)
	return &l, err
}

// domains reads a tree into a set.
func (r *mrsReader) domains(count int) (*Domains, error) {
	l, err := r.louds()
	if err != nil {
		return nil, err
	}
	first := l.levels()
	if first == nil {
		return nil, errNoTree
	}
	if !slices.ContainsFunc(l.labels, func(c byte) bool { return c >= 0x7f || c < ' ' || c-'A' < 26 }) {
		return l.domains(first, count), nil
	}
	b := NewDomainsBuilder()
	l.names(first).each(func(text []byte, flags byte) {
		_ = b.Add(append([]byte(prefixOf(flags)), text...)) // was taken before
	})
	s := b.Build()
	s.count = count
	return s, nil
}

// words reads n words. It takes memory for the first sure ones at once and for
// others as they come.
func (r *mrsReader) words(n, sure int) ([]uint64, error) {
	out := make([]uint64, 0, min(n, sure))
	var b [4096]byte
	for len(out) < n {
		want := min(n-len(out), len(b)/8)
		if _, err := io.ReadFull(r, b[:8*want]); err != nil {
			return nil, err
		}
		if cap(out)-len(out) < want {
			out = append(make([]uint64, 0, min(n, 2*cap(out))), out...)
		}
		for i := range want {
			out = append(out, binary.BigEndian.Uint64(b[8*i:]))
		}
	}
	return out, nil
}

// prefixes reads ranges into a set.
func (r *mrsReader) prefixes(count int) (*Prefixes, error) {
	var b PrefixesBuilder
	err := r.ranges(&b, count)
	return b.Build(), err
}

// ranges reads ranges, which are sorted and do not touch.
func (r *mrsReader) ranges(b *PrefixesBuilder, count int) error {
	n, err := r.length(1, maxUnpacked/32)
	if err != nil {
		return err
	}
	for n > 0 {
		data, err := r.Peek(32 * min(n, r.Size()/32))
		if err != nil {
			return err
		}
		for p := data; len(p) > 0; p = p[32:] {
			from := wide{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}
			to := wide{binary.BigEndian.Uint64(p[16:]), binary.BigEndian.Uint64(p[24:])}
			switch {
			case compareWide(from, to) > 0:
				return fmt.Errorf("%w: %w", ErrFormat, errBackwards)
			case from.mapped() && to.mapped():
				b.v4.add(uint32(from.lo), uint32(to.lo))
			default:
				b.add6(from, to)
			}
		}
		n -= len(data) / 32
		if _, err := r.Discard(len(data)); err != nil {
			return err
		}
	}
	b.count = count
	return nil
}

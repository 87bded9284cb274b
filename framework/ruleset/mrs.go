package ruleset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// The bounds of an mrs file once it is unpacked. Chosen: ten times a list of a
// million names; the window is the largest that the usual compressors use.
const (
	maxUnpacked = 256 << 20
	maxWindow   = 32 << 20
)

// magic begins an unpacked mrs file: "MRS" and the version.
const magic = "MRS\x01"

// readMRS reads an mrs file (config-rules.md §7). Lengths are believed only as
// far as bytes have come, so that a short file cannot ask for much memory.
func readMRS(b Behavior, r io.Reader) (*Set, error) {
	if b == Classical {
		return nil, fmt.Errorf("%w: there is none of behavior classical", ErrFormat)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	in := &mrsReader{bufio.NewReaderSize(&bounded{r: z, left: maxUnpacked}, 64<<10)}
	s, err := in.set(b)
	switch {
	case err == nil, errors.Is(err, ErrTooLarge), errors.Is(err, ErrFormat):
		return s, err
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("%w: it ends early", ErrFormat)
	}
	return nil, fmt.Errorf("%w: %w", ErrFormat, err)
}

type mrsReader struct{ *bufio.Reader }

func (r *mrsReader) set(b Behavior) (*Set, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if string(head[:4]) != magic {
		return nil, fmt.Errorf("%w: no version 1 header", ErrFormat)
	}
	if head[4] != byte(b) {
		return nil, fmt.Errorf("%w: its behavior is %d, not %s", ErrFormat, head[4], b)
	}
	count, err := r.length(0, 1<<40)
	if err != nil {
		return nil, err
	}
	extra, err := r.length(0, maxUnpacked)
	if err != nil {
		return nil, err
	}
	if _, err := r.Discard(extra); err != nil {
		return nil, err
	}
	if v, err := r.ReadByte(); err != nil {
		return nil, err
	} else if v != 1 {
		return nil, fmt.Errorf("%w: body version %d", ErrFormat, v)
	}
	s := &Set{Behavior: b}
	if b == Domain {
		s.Domains, err = r.domains(count)
	} else {
		s.Prefixes, err = r.prefixes(count)
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.ReadByte(); err == nil {
		return nil, fmt.Errorf("%w: bytes follow the set", ErrFormat)
	} else if err != io.EOF {
		return nil, err // the checksum of the stream, for one
	}
	return s, nil
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

// domains reads a trie. Each of its parts bounds the next one: n words of
// leaves are 64·n nodes, which have 2·64·n bits and fewer labels.
func (r *mrsReader) domains(count int) (*Domains, error) {
	var t trie
	n, err := r.length(1, maxUnpacked/8)
	if err != nil {
		return nil, err
	}
	if t.leaves, err = r.words(n); err != nil {
		return nil, err
	}
	m, err := r.length(1, 2*n)
	if err != nil {
		return nil, err
	}
	if t.edges, err = r.words(m); err != nil {
		return nil, err
	}
	l, err := r.length(1, 64*n)
	if err != nil {
		return nil, err
	}
	t.labels = make([]byte, l)
	if _, err := io.ReadFull(r, t.labels); err != nil {
		return nil, err
	}
	if !t.index() {
		return nil, fmt.Errorf("%w: its bits are no tree", ErrFormat)
	}
	s := &Domains{trie: &t, count: count}
	if slices.ContainsFunc(t.labels, func(c byte) bool { return c >= 0x80 || c-'A' < 26 }) {
		return s.rebuilt(), nil
	}
	return s, nil
}

// rebuilt is s with its names in the form that hosts have. Other programs
// keep names of other scripts as they are, reversed by characters.
func (s *Domains) rebuilt() *Domains {
	var b domainBuilder
	s.trie.walk(func(_ []int, key []byte) bool {
		text := []rune(string(key))
		slices.Reverse(text)
		_ = b.add([]byte(string(text))) // a name that has no such form matches no host
		return true
	})
	b.count = s.count
	return b.build()
}

// words reads n words; it takes memory as they come.
func (r *mrsReader) words(n int) ([]uint64, error) {
	var out []uint64
	var b [4096]byte
	for len(out) < n {
		want := min(n-len(out), len(b)/8)
		if _, err := io.ReadFull(r, b[:8*want]); err != nil {
			return nil, err
		}
		if cap(out)-len(out) < want {
			out = append(make([]uint64, 0, min(n, max(2*cap(out), want, 1<<15))), out...)
		}
		for i := range want {
			out = append(out, binary.BigEndian.Uint64(b[8*i:]))
		}
	}
	return out, nil
}

// prefixes reads ranges, which are sorted and do not touch.
func (r *mrsReader) prefixes(count int) (*Prefixes, error) {
	n, err := r.length(1, maxUnpacked/32)
	if err != nil {
		return nil, err
	}
	var b prefixBuilder
	for range n {
		pair, err := r.Peek(32)
		if err != nil {
			return nil, err
		}
		from, to := netip.AddrFrom16([16]byte(pair[:16])), netip.AddrFrom16([16]byte(pair[16:]))
		if from.Is4In6() && to.Is4In6() {
			from, to = from.Unmap(), to.Unmap()
		}
		if err := b.addRange(from, to); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if _, err := r.Discard(32); err != nil {
			return nil, err
		}
	}
	b.count = count
	return b.build(), nil
}

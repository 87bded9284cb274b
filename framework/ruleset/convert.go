package ruleset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/klauspost/compress/zstd"
)

var (
	errEmptySet     = errors.New("an mrs file cannot hold an empty set")
	errClassicalMRS = errors.New("a classical list has no mrs form")
)

// Convert reads a list in one format and writes it in the other direction: yaml
// and text become mrs, mrs becomes text. behavior and format are spelled as in
// the configuration. It reports what it skipped; when nothing is left, nothing
// is written.
func Convert(behavior, format string, in io.Reader, out io.Writer) (Bad, error) {
	b, err := ParseBehavior(behavior)
	if err != nil {
		return Bad{}, err
	}
	f, err := ParseFormat(format)
	if err != nil {
		return Bad{}, err
	}
	if b == Classical {
		return Bad{}, errClassicalMRS
	}
	s, err := Read(b, f, in, 0)
	if err != nil {
		return Bad{}, err
	}
	if f == MRS {
		return s.Bad, s.WriteText(out)
	}
	return s.Bad, s.WriteMRS(out)
}

// WriteText writes the set as a text list. Entries come in the set's order;
// addresses as the prefixes that make up the merged ranges.
func (s *Set) WriteText(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10) // keeps the first error, which Flush returns
	switch s.Behavior {
	case Domain:
		for e := range s.Domains.All() {
			out.WriteString(e)
			out.WriteByte('\n')
		}
	case IPCIDR:
		for p := range s.Prefixes.All() {
			out.Write(p.AppendTo(out.AvailableBuffer()))
			out.WriteByte('\n')
		}
	case Classical:
		for _, l := range s.Lines {
			out.WriteString(l.String())
			out.WriteByte('\n')
		}
	}
	return out.Flush()
}

// WriteMRS writes the set as an mrs file. It fails for a classical list and
// for a set without entries, which have no such form.
func (s *Set) WriteMRS(w io.Writer) error {
	if s.Behavior == Classical {
		return errClassicalMRS
	}
	if s.Len() == 0 {
		return errEmptySet
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	out := &mrsWriter{Writer: bufio.NewWriterSize(z, 64<<10)}
	out.WriteString(magic)
	out.WriteByte(byte(s.Behavior))
	out.int64(s.Len())
	out.int64(0) // no extra bytes
	out.WriteByte(1)
	if s.Behavior == Domain {
		out.domains(s.Domains.trie)
	} else {
		out.prefixes(s.Prefixes)
	}
	if err := errors.Join(out.Flush(), z.Close()); err != nil {
		return fmt.Errorf("write mrs: %w", err)
	}
	return nil
}

// mrsWriter keeps the first error, which Flush returns.
type mrsWriter struct{ *bufio.Writer }

func (w *mrsWriter) int64(n int) {
	w.Write(binary.BigEndian.AppendUint64(w.AvailableBuffer(), uint64(n)))
}

func (w *mrsWriter) words(ws []uint64) {
	w.int64(len(ws))
	for _, word := range ws {
		w.Write(binary.BigEndian.AppendUint64(w.AvailableBuffer(), word))
	}
}

func (w *mrsWriter) domains(t *trie) {
	w.words(t.leaves)
	w.words(t.edges)
	w.int64(len(t.labels))
	w.Write(t.labels)
}

// prefixes writes ranges in the order of their 16 bytes: IPv4 is mapped, so
// that it stands among the IPv6 ones.
func (w *mrsWriter) prefixes(s *Prefixes) {
	all := s.six()
	six := make([][2]wide, 0, len(all.from)+len(s.v4.from))
	for i, from := range all.from {
		six = append(six, [2]wide{from, all.to[i]})
	}
	for i, from := range s.v4.from {
		six = append(six, [2]wide{mapped(from), mapped(s.v4.to[i])})
	}
	sorted := merge([][][2]wide{six}, compareWide, nextWide)
	w.int64(len(sorted.from))
	for i, from := range sorted.from {
		a, b := addr(from).As16(), addr(sorted.to[i]).As16()
		w.Write(a[:])
		w.Write(b[:])
	}
}

func mapped(n uint32) wide {
	b := netip.AddrFrom16(addr4(n).As16())
	return number(b)
}

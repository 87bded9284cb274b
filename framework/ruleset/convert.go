package ruleset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

var (
	errEmptySet     = errors.New("an mrs file cannot hold an empty set")
	errClassicalMRS = errors.New("a classical list has no mrs form")
)

// Convert reads a list in one format and writes it in the other: yaml and text
// become mrs, mrs becomes text. behavior and format are spelled as in the
// configuration. It reports how many entries were read and what was skipped.
// When it fails for its input, nothing was written.
func Convert(behavior, format string, in io.Reader, out io.Writer) (count int, bad Bad, err error) {
	b, err := ParseBehavior(behavior)
	if err != nil {
		return 0, bad, err
	}
	f, err := ParseFormat(format)
	if err != nil {
		return 0, bad, err
	}
	if b == Classical {
		return 0, bad, errClassicalMRS
	}
	c := collection{behavior: b}
	in = &bounded{r: in, left: DefaultLimit}
	if f == MRS {
		if err := c.readMRS(in); err != nil {
			return 0, bad, err
		}
		return c.len(), bad, c.writeText(out)
	}
	read := readText
	if f == YAML {
		read = readYAML
	}
	err = read(in, func(line int, text []byte, err error) {
		if err == nil {
			err = c.add(text)
		}
		if err != nil {
			bad.add(line, text, err)
		}
	})
	switch {
	case err != nil:
		return 0, bad, err
	case c.len() == 0:
		return 0, bad, errEmptySet
	}
	return c.len(), bad, c.writeMRS(out)
}

// collection is a list whose entries are kept, unlike those of a Set.
type collection struct {
	behavior Behavior
	names    names
	ranges   PrefixesBuilder
}

func (c *collection) add(entry []byte) error {
	if c.behavior == Domain {
		return c.names.add(entry)
	}
	return c.ranges.Add(entry)
}

func (c *collection) len() int { return c.names.count + c.ranges.count }

func (c *collection) readMRS(r io.Reader) error {
	return openMRS(c.behavior, r, func(in *mrsReader, count int) error {
		if c.behavior == IPCIDR {
			return in.ranges(&c.ranges, count)
		}
		l, err := in.louds()
		if err != nil {
			return err
		}
		first := l.levels()
		if first == nil {
			return errNoTree
		}
		c.names = *l.names(first)
		c.names.count = count
		return nil
	})
}

// writeText writes a text list: names in the order of their ends, addresses as
// the prefixes that make up the merged ranges.
func (c *collection) writeText(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10) // keeps the first error, which Flush returns
	if c.behavior == Domain {
		c.names.each(func(text []byte, flags byte) {
			out.WriteString(prefixOf(flags))
			out.Write(text)
			out.WriteByte('\n')
		})
		return out.Flush()
	}
	for p := range c.ranges.Build().All() {
		out.Write(p.AppendTo(out.AvailableBuffer()))
		out.WriteByte('\n')
	}
	return out.Flush()
}

// writeMRS writes an mrs file (config-rules.md §7).
func (c *collection) writeMRS(w io.Writer) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	out := &mrsWriter{Writer: bufio.NewWriterSize(z, 64<<10)}
	out.WriteString(magic)
	out.WriteByte(byte(c.behavior))
	out.int64(c.len())
	out.int64(0) // no extra bytes
	out.WriteByte(1)
	if c.behavior == Domain {
		out.domains(newLouds(&c.names))
	} else {
		out.prefixes(c.ranges.Build())
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

func (w *mrsWriter) domains(t *louds) {
	w.words(t.leaves)
	w.words(t.edges)
	w.int64(len(t.labels))
	w.Write(t.labels)
}

// prefixes writes ranges, IPv4 ones first, as published files have them.
func (w *mrsWriter) prefixes(s *Prefixes) {
	six := s.six()
	w.int64(len(s.v4.from) + len(six.from))
	for from, to := range s.spans(six) {
		a, b := from.As16(), to.As16()
		w.Write(a[:])
		w.Write(b[:])
	}
}

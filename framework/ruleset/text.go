package ruleset

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine bounds one line, in bytes; chosen: a logic rule of a hundred
// conditions fits. A longer line is one bad entry.
const maxLine = 64 << 10

var errLongLine = errors.New("line is longer than 64 KiB")

// eachLine calls f with each line of r, without its end, until f says false.
// A line that is too long comes as its beginning and errLongLine. The line is
// not to be kept.
func eachLine(r io.Reader, f func(number int, line []byte, err error) bool) error {
	in := bufio.NewReaderSize(r, maxLine)
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		var problem error
		if long {
			line, problem = bytes.Clone(line[:80]), errLongLine
			for err == bufio.ErrBufferFull {
				_, err = in.ReadSlice('\n')
			}
		}
		if err != nil && err != io.EOF {
			return err
		}
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(line) > 0 && !f(number, bytes.TrimRight(line, "\r\n"), problem) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
	}
}

// readText gives the entries of a text list: one a line, trimmed; empty lines
// and those that begin with # or // are none.
func readText(r io.Reader, entry func(line int, text []byte, err error)) error {
	return eachLine(r, func(number int, line []byte, err error) bool {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.HasPrefix(line, []byte("//")) {
			entry(number, line, err)
		}
		return true
	})
}

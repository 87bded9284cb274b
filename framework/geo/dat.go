package geo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"

	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/ruleset"
)

var (
	errWire = errors.New("not a list file: broken protocol buffer")
	// ErrNoList says that a file has no list of that name.
	ErrNoList = errors.New("no such list")
)

// prefixes is a set that Reload exchanges.
type prefixes = atomic.Pointer[ruleset.Prefixes]

// field is one field of a message: its number, and its value as bytes or as a
// number, by its wire type.
type field struct {
	num    int
	bytes  []byte
	number uint64
}

// nextField takes the first field off a message.
func nextField(b []byte) (field, []byte, error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
		return field{}, nil, errWire
	}
	f, b := field{num: int(tag >> 3)}, b[n:]
	switch tag & 7 {
	case 0:
		if f.number, n = binary.Uvarint(b); n <= 0 {
			return field{}, nil, errWire
		}
		return f, b[n:], nil
	case 1, 5:
		size := 8 >> (tag & 4 >> 2)
		if len(b) < size {
			return field{}, nil, errWire
		}
		return f, b[size:], nil
	case 2:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return field{}, nil, errWire
		}
		f.bytes = b[n : n+int(size)]
		return f, b[n+int(size):], nil
	}
	return field{}, nil, errWire
}

// eachField calls f with the fields of a message until f fails.
func eachField(b []byte, f func(field) error) error {
	for len(b) > 0 {
		fd, rest, err := nextField(b)
		if err == nil {
			err = f(fd)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// code is the first field of number 1 of a list, its name.
func code(list []byte) (string, error) {
	for len(list) > 0 {
		f, rest, err := nextField(list)
		if err != nil {
			return "", err
		}
		if f.num == 1 {
			return string(f.bytes), nil
		}
		list = rest
	}
	return "", nil
}

// readList returns the message of one list of a .dat file, by its name in any
// letter case. Only that one is kept.
func readList(dir string, names []string, want string) ([]byte, error) {
	path, err := find(dir, names)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	list, known, err := scanLists(f, info.Size(), want)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case list != nil:
		return list, nil
	}
	if near := conf.Nearest(strings.ToLower(want), known); near != "" {
		return nil, fmt.Errorf("%w %q in %s; did you mean %q?", ErrNoList, want, path, near)
	}
	return nil, fmt.Errorf("%w %q in %s", ErrNoList, want, path)
}

// peekCode is how far a list is looked into for its name, which stands first in
// each file that was seen; chosen: far more than a name is long.
const peekCode = 4 << 10

// scanLists looks for a list in r, which has size bytes. known is the names of
// the others.
func scanLists(r io.Reader, size int64, want string) (list []byte, known []string, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		tag, err := binary.ReadUvarint(in)
		if err == io.EOF {
			return nil, known, nil
		}
		if err != nil || tag != 1<<3|2 { // both files are lists at field 1, and nothing else
			return nil, nil, errWire
		}
		n, err := binary.ReadUvarint(in)
		if err != nil || n > uint64(size) {
			return nil, nil, errWire
		}
		head, err := in.Peek(int(min(n, peekCode)))
		if err != nil {
			return nil, nil, errWire
		}
		f, _, ferr := nextField(head)
		if ferr != nil || f.num != 1 || strings.EqualFold(string(f.bytes), want) {
			body := make([]byte, n)
			if _, err := io.ReadFull(in, body); err != nil {
				return nil, nil, errWire
			}
			name, err := code(body)
			if err != nil {
				return nil, nil, err
			}
			if strings.EqualFold(name, want) {
				return body, nil, nil
			}
			known = append(known, strings.ToLower(name))
			continue
		}
		known = append(known, strings.ToLower(string(f.bytes)))
		if _, err := in.Discard(int(n)); err != nil {
			return nil, nil, errWire
		}
	}
}

// IPSet is the addresses of a country by geoip.dat, code in any letter case.
// It is the set of the moment: InCountry follows updates.
func (d *Data) IPSet(code string) (*ruleset.Prefixes, error) {
	code = strings.ToLower(code)
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.ranges.Load(code); ok {
		return p.(*prefixes).Load(), nil
	}
	set, err := readIPSet(d.dir, code)
	if err != nil {
		return nil, err
	}
	p := new(prefixes)
	p.Store(set)
	d.ranges.Store(code, p)
	return set, nil
}

func readIPSet(dir, code string) (*ruleset.Prefixes, error) {
	list, err := readList(dir, geoIPNames, code)
	if err != nil {
		return nil, err
	}
	set, err := decodeIPSet(list)
	if err != nil {
		return nil, fmt.Errorf("geoip.dat, list %q: %w", code, err)
	}
	return set, nil
}

// decodeIPSet reads a GeoIP message: CIDRs at field 2.
func decodeIPSet(list []byte) (*ruleset.Prefixes, error) {
	var b ruleset.PrefixesBuilder
	err := eachField(list, func(f field) error {
		if f.num != 2 {
			return nil
		}
		var ip, bits = []byte(nil), uint64(0)
		err := eachField(f.bytes, func(f field) error {
			switch f.num {
			case 1:
				ip = f.bytes
			case 2:
				bits = f.number
			}
			return nil
		})
		if err != nil {
			return err
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok || bits > uint64(addr.BitLen()) {
			return errWire
		}
		return b.AddPrefix(netip.PrefixFrom(addr, int(bits)))
	})
	if err != nil {
		return nil, err
	}
	return b.Build(), nil
}

// Package ranges reads and searches sets of small numbers as rules write
// them: "80", "80-90/443" (config-general.md §2).
package ranges

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// maxPieces bounds a set, as the peer does.
const maxPieces = 28

var (
	errEmpty = errors.New("payload is empty")
	errMany  = fmt.Errorf("more than %d ranges", maxPieces)
)

// Set is a set of numbers. The zero Set is empty.
type Set []span

type span struct{ low, high uint16 }

// Parse reads numbers and ranges that '/' or ',' separates; none may be above
// limit. Unlike the peer, which wraps large numbers and keeps ranges that hold
// nothing, it refuses both.
func Parse(s string, limit uint16) (Set, error) {
	if strings.TrimSpace(s) == "" {
		return nil, errEmpty
	}
	pieces := strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == ',' })
	if len(pieces) == 0 {
		return nil, errEmpty
	}
	if len(pieces) > maxPieces {
		return nil, errMany
	}
	set := make(Set, len(pieces))
	for i, piece := range pieces {
		one, err := parseSpan(strings.Trim(piece, " []"), limit)
		if err != nil {
			return nil, err
		}
		set[i] = one
	}
	return set, nil
}

func parseSpan(s string, limit uint16) (span, error) {
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	low, err := parseNumber(from, limit)
	if err != nil {
		return span{}, err
	}
	high, err := parseNumber(to, limit)
	if err != nil {
		return span{}, err
	}
	if low > high {
		return span{}, fmt.Errorf("range %q ends before it begins", s)
	}
	return span{low, high}, nil
}

func parseNumber(s string, limit uint16) (uint16, error) {
	s = strings.TrimSpace(s)
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n > uint64(limit):
		return 0, fmt.Errorf("%s is more than %d", s, limit)
	case err != nil:
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return uint16(n), nil
}

// Has says whether n is in the set.
func (s Set) Has(n uint16) bool {
	for _, one := range s {
		if one.low <= n && n <= one.high {
			return true
		}
	}
	return false
}

// All are the ranges, both ends included.
func (s Set) All() iter.Seq2[uint16, uint16] {
	return func(yield func(low, high uint16) bool) {
		for _, one := range s {
			if !yield(one.low, one.high) {
				return
			}
		}
	}
}

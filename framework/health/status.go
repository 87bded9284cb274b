package health

import (
	"fmt"
	"strconv"
	"strings"
)

// Statuses are the HTTP statuses of a good test, as ranges with both ends
// included; none is any status.
type Statuses [][2]uint16

// maxRanges is how many ranges there may be, as in mihomo's
// common/utils/ranges.go.
const maxRanges = 28

// ParseStatuses reads "204", "200/204", "200-299,404", "*" or "".
func ParseStatuses(text string) (Statuses, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "*" {
		return nil, nil
	}
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == '/' || r == ',' })
	if len(parts) == 0 || len(parts) > maxRanges {
		return nil, fmt.Errorf("want 1 to %d statuses or ranges of them, got %d", maxRanges, len(parts))
	}
	s := make(Statuses, 0, len(parts))
	for _, part := range parts {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		l, errLow := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		h, errHigh := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		if errLow != nil || errHigh != nil {
			return nil, fmt.Errorf("%q is no status or range of statuses such as 200-299", strings.TrimSpace(part))
		}
		s = append(s, [2]uint16{uint16(min(l, h)), uint16(max(l, h))})
	}
	return s, nil
}

// has says whether a status is in one of the ranges.
func (s Statuses) has(status int) bool {
	for _, r := range s {
		if status >= int(r[0]) && status <= int(r[1]) {
			return true
		}
	}
	return len(s) == 0
}

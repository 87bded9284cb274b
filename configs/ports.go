package configs

import (
	"fmt"
	"strconv"
	"strings"
)

// maxPortParts is how many pieces a list of ports may have, as in mihomo's
// common/utils/ranges.go.
const maxPortParts = 28

// ParsePortRanges reads 114-514/810-1919,65530 in order of writing. Spaces and
// [ ] around a piece do not matter, nor does the order of a range's ends; "" and
// * are no restriction, nil.
func ParsePortRanges(s string) ([]PortRange, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "*" {
		return nil, nil
	}
	parts := strings.Split(strings.ReplaceAll(s, ",", "/"), "/")
	if len(parts) > maxPortParts {
		return nil, fmt.Errorf("%d pieces in a list of ports, at most %d are allowed", len(parts), maxPortParts)
	}
	var out []PortRange
	for _, part := range parts {
		part = strings.Trim(part, "[ ]")
		if part == "" {
			continue
		}
		r, err := portRange(part)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// portRange reads one port or first-last.
func portRange(s string) (PortRange, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, err := port(first)
	if err != nil {
		return PortRange{}, err
	}
	b, err := port(last)
	return PortRange{min(a, b), max(a, b)}, err
}

func port(s string) (uint16, error) {
	s = strings.Trim(s, "[ ]")
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port from 0 to 65535", s)
	}
	return uint16(n), nil
}

// ParsePorts is ParsePortRanges as single ports, each once, in order of
// writing; nil is no restriction.
func ParsePorts(s string) ([]uint16, error) {
	ranges, err := ParsePortRanges(s)
	if err != nil {
		return nil, err
	}
	var out []uint16
	seen := map[uint16]bool{}
	for _, r := range ranges {
		for p := int(r.First); p <= int(r.Last); p++ {
			if !seen[uint16(p)] {
				seen[uint16(p)] = true
				out = append(out, uint16(p))
			}
		}
	}
	return out, nil
}

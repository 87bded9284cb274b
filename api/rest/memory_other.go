//go:build !linux

package rest

import "runtime/metrics"

// residentBytes is the memory that the Go runtime has mapped and not given
// back: the nearest figure that every system has.
func residentBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

package rest

import (
	"bytes"
	"os"
	"strconv"
)

// residentBytes is the resident set size of this process, 0 when /proc does
// not say (proc(5), statm: the second figure, in pages).
func residentBytes() uint64 {
	var buf [128]byte
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0
	}
	defer f.Close()
	n, _ := f.Read(buf[:])
	fields := bytes.Fields(buf[:n])
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize())
}

//go:build !race

package socks5

// raceEnabled says whether the race detector runs, under which a sync.Pool
// drops at random and allocations cannot be counted.
const raceEnabled = false

package loadbalance

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/culvert-proxy/culvert/framework"
)

// FNV-1a over 64 bits, and a last mixing, as jump hash wants all bits good.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashText(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func hashAddr(h uint64, ip netip.Addr) uint64 {
	for _, b := range ip.As16() {
		h = (h ^ uint64(b)) * fnvPrime
	}
	return h
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// destinationKey is the same for all hosts of a site, and in each run.
func destinationKey(f *framework.Flow) uint64 { return mix(hashDestination(fnvOffset, f)) }

// sessionKey is the same for all flows of one client to a site.
func sessionKey(f *framework.Flow) uint64 {
	return mix(hashDestination(hashAddr(fnvOffset, f.Source.Addr()), f))
}

func hashDestination(h uint64, f *framework.Flow) uint64 {
	switch to := f.Destination; {
	case to.Host != "":
		return hashText(h, site(to.Host))
	case to.IP.IsValid():
		return hashAddr(h, to.IP)
	}
	return h
}

// site is the registered name above host, by the public suffix list; host
// itself when it is a suffix.
func site(host string) string {
	suffix, _ := publicsuffix.PublicSuffix(host)
	rest := len(host) - len(suffix) - 1
	if rest <= 0 || host[rest] != '.' {
		return host
	}
	return host[strings.LastIndexByte(host[:rest], '.')+1:]
}

// jump maps a key to 0..n-1 so that few keys move when n grows by one
// (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014).
func jump(key uint64, n int) int {
	b, j := int64(-1), int64(0)
	for j < int64(n) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(int64(1)<<31) / float64(key>>33+1)))
	}
	return int(b)
}

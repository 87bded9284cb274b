package ruleset_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/ruleset"
)

// million is the size that the goals of performance.md name.
const million = 1_000_000

// names makes n domain entries as lists have them: half with "+.", one label
// of 6 to 14 letters below one of 20 endings, a third one label deeper.
func names(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	endings := strings.Fields("com net org cn com.cn de co.uk ru jp co.jp br com.br fr it nl pl in io info xyz")
	label := func() string {
		b := make([]byte, 6+r.IntN(9))
		for i := range b {
			b[i] = 'a' + byte(r.IntN(26))
		}
		return string(b)
	}
	out := make([]string, n)
	for i := range out {
		s := label() + "." + endings[r.IntN(len(endings))]
		if i%3 == 0 {
			s = []string{"www", "cdn", "api", "ads", "img1"}[r.IntN(5)] + "." + s
		}
		if i%2 == 0 {
			s = "+." + s
		}
		out[i] = s
	}
	return out
}

// prefixes makes n prefixes that do not touch much, one in ten of IPv6.
func prefixes(n int) []string {
	r := rand.New(rand.NewPCG(3, 4))
	out := make([]string, n)
	for i := range out {
		if i%10 == 0 {
			out[i] = fmt.Sprintf("2%03x:%x:%x::/48", r.IntN(4096), r.IntN(65536), r.IntN(65536))
		} else {
			out[i] = fmt.Sprintf("%d.%d.%d.%d/28", 1+r.IntN(223), r.IntN(256), r.IntN(256), r.IntN(16)*16)
		}
	}
	return out
}

func text(entries []string) []byte { return []byte(strings.Join(entries, "\n") + "\n") }

func mrs(b testing.TB, behavior ruleset.Behavior, list []byte) []byte {
	b.Helper()
	var out bytes.Buffer
	name := map[ruleset.Behavior]string{ruleset.Domain: "domain", ruleset.IPCIDR: "ipcidr"}[behavior]
	if _, bad, err := ruleset.Convert(name, "text", bytes.NewReader(list), &out); err != nil || bad.Count > 0 {
		b.Fatal(err, bad)
	}
	return out.Bytes()
}

// measure loads once more, and reports what the set keeps and the peak of the
// heap above what was there before.
func measure(b *testing.B, load func() *ruleset.Set) {
	b.Helper()
	b.StopTimer()
	for range 4 { // what pools and finalizers hold goes with the later ones
		runtime.GC()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var m runtime.MemStats
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
			}
		}
	}()
	s := load()
	close(stop)
	<-done
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-kept")
	b.ReportMetric(float64(int64(max(peak.Load(), after.HeapAlloc))-int64(before.HeapAlloc))/(1<<20), "MiB-peak")
	runtime.KeepAlive(s)
	b.StartTimer()
}

func benchmarkLoad(b *testing.B, behavior ruleset.Behavior, format ruleset.Format, data []byte) {
	load := func() *ruleset.Set {
		s, err := ruleset.Read(behavior, format, bytes.NewReader(data), 0)
		if err != nil || s.Len() != million {
			b.Fatalf("%v, %d entries", err, s.Len())
		}
		return s
	}
	b.ReportAllocs()
	begin, n := cpu(), 0
	for b.Loop() {
		load()
		n++
	}
	b.ReportMetric(float64((cpu()-begin).Microseconds())/1000/float64(n), "cpu-ms/op")
	measure(b, load)
	runtime.KeepAlive(data) // it was there before, too
}

// BenchmarkLoad: goals are 500 ms from text and 50 ms from mrs, 48 MiB peak
// and 16 MiB kept. Maps is the plain way.
func BenchmarkLoad(b *testing.B) {
	domains, ips := text(names(million)), text(prefixes(million))
	b.Run("domain/text", func(b *testing.B) { benchmarkLoad(b, ruleset.Domain, ruleset.Text, domains) })
	b.Run("domain/mrs", func(b *testing.B) { benchmarkLoad(b, ruleset.Domain, ruleset.MRS, mrs(b, ruleset.Domain, domains)) })
	b.Run("ipcidr/text", func(b *testing.B) { benchmarkLoad(b, ruleset.IPCIDR, ruleset.Text, ips) })
	b.Run("ipcidr/mrs", func(b *testing.B) { benchmarkLoad(b, ruleset.IPCIDR, ruleset.MRS, mrs(b, ruleset.IPCIDR, ips)) })
	b.Run("domain/map", func(b *testing.B) {
		for b.Loop() {
			newNaive(strings.Fields(string(domains)))
		}
	})
}

// naive is the plain way: a map of names, asked once per label.
type naive map[string]bool

func newNaive(entries []string) naive {
	m := naive{}
	for _, e := range entries {
		m[e] = true
	}
	return m
}

func (m naive) has(host string) bool {
	if m[host] || m["+."+host] {
		return true
	}
	for rest := host; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return false
		}
		if rest = after; m["+."+rest] || m["."+rest] {
			return true
		}
	}
}

// BenchmarkLookup: the goal is 1 µs without allocation.
func BenchmarkLookup(b *testing.B) {
	list := names(million)
	s, err := ruleset.Inline(ruleset.Domain, list)
	if err != nil {
		b.Fatal(err)
	}
	plain := newNaive(list)
	hit, miss := make([]string, 1<<14), make([]string, 1<<14)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range hit {
		hit[i] = strings.TrimPrefix(list[r.IntN(len(list))], "+.")
		miss[i] = "x" + hit[i][1:]
	}
	run := func(name string, has func(string) bool, hosts []string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				has(hosts[i%len(hosts)])
			}
		})
	}
	run("hit", s.Domains.Has, hit)
	run("miss", s.Domains.Has, miss)
	run("map/hit", plain.has, hit)
	run("map/miss", plain.has, miss)

	p, err := ruleset.Inline(ruleset.IPCIDR, prefixes(million))
	if err != nil {
		b.Fatal(err)
	}
	var ips [1 << 14]netip.Addr
	for i := range ips {
		ips[i] = netip.AddrFrom4([4]byte{byte(1 + r.IntN(223)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	b.Run("ip", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			p.Prefixes.Has(ips[i%len(ips)])
		}
	})
}

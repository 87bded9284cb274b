package route

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// plainRules are n rules as users write them: of ten, five on domains, three
// on prefixes and two on ports of sources. The first is the one that first
// meets, the last but one the one that last meets.
func plainRules(n int) []Line {
	lines := make([]Line, n)
	for i := range lines {
		l := &lines[i]
		l.Target = "A"
		switch i % 10 {
		case 0, 4, 6:
			l.Type, l.Payload = "DOMAIN-SUFFIX", fmt.Sprintf("site%d.example.com", i)
		case 2, 8:
			l.Type, l.Payload = "DOMAIN", fmt.Sprintf("www.host%d.example.org", i)
		case 1, 3, 5:
			l.Type, l.Payload, l.Params = "IP-CIDR", fmt.Sprintf("10.%d.%d.0/24", i>>8&255, i&255), []string{"no-resolve"}
		default:
			l.Type, l.Payload = "SRC-PORT", fmt.Sprint(1+i)
		}
	}
	lines[n-1].Type, lines[n-1].Payload = "DOMAIN-SUFFIX", "last.example.net"
	return lines
}

// visitors of a benchmark keep nothing.
type taker struct {
	host string
	ip   netip.Addr
}

func (v *taker) Host() string           { return v.host }
func (v *taker) IP() (netip.Addr, bool) { return v.ip, v.ip.IsValid() }
func (v *taker) Resolve()               {}
func (v *taker) Accept(string) Verdict  { return Take }

// places are where a flow meets a rule: each a destination.
var places = []struct {
	name string
	to   taker
	hit  func(n int) int
}{
	{"first", taker{host: "www.site0.example.com"}, func(int) int { return 0 }},
	{"last", taker{host: "www.last.example.net"}, func(n int) int { return n - 1 }},
	{"none", taker{host: "www.elsewhere.example.com"}, func(int) int { return -1 }},
	{"address", taker{ip: netip.MustParseAddr("192.0.2.1")}, func(int) int { return -1 }},
}

func benchmarkList(tb testing.TB, n int) *List {
	tb.Helper()
	table, errs := Compile(plainRules(n), nil, newBuiltRules())
	if errs != nil {
		tb.Fatal(errs)
	}
	return table.Main()
}

func benchmarkFlow() *framework.Flow {
	return &framework.Flow{Network: framework.TCP, Source: netip.MustParseAddrPort("127.0.0.1:65000"), Destination: framework.Addr{Port: 443}}
}

// BenchmarkMatch is the index and, beside it, the scan in order.
func BenchmarkMatch(b *testing.B) {
	flow, now := benchmarkFlow(), time.Now()
	for _, n := range []int{10, 1000, 10000} {
		l := benchmarkList(b, n)
		for _, p := range places {
			b.Run(fmt.Sprintf("index/rules=%d/%s", n, p.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					l.Match(flow, &p.to, now)
				}
			})
			b.Run(fmt.Sprintf("scan/rules=%d/%s", n, p.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s := scan{flow: flow, visitor: &p.to}
					s.list(l)
				}
			})
		}
	}
}

// BenchmarkCompile is what an apply pays for a list.
func BenchmarkCompile(b *testing.B) {
	lines, c := plainRules(10000), newBuiltRules()
	b.ReportAllocs()
	for b.Loop() {
		Compile(lines, nil, c)
	}
}

func TestMatchAllocatesNothingWhereverItEnds(t *testing.T) {
	flow, now, l := benchmarkFlow(), time.Now(), benchmarkList(t, 1000)
	for _, p := range places {
		r, _ := l.Match(flow, &p.to, now)
		if want := p.hit(1000); want < 0 != (r == nil) || r != nil && r.Index != want {
			t.Errorf("%s: got rule %+v, want %d", p.name, r, want)
		}
		if n := testing.AllocsPerRun(100, func() { l.Match(flow, &p.to, now) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", p.name, n)
		}
	}
}

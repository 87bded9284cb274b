package session

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// serveBare is the least that relays UDP: a map from the source to a socket,
// with a goroutine that reads it.
func serveBare(b *testing.B) netip.AddrPort {
	front := mustListen(b)
	front.SetReadBuffer(4 << 20)
	var wg sync.WaitGroup
	wg.Go(func() {
		exits := map[netip.AddrPort]*net.UDPConn{}
		in := make([]byte, maxPacket)
		for {
			n, from, err := front.ReadFromUDPAddrPort(in)
			if err != nil {
				break
			}
			c := exits[from]
			if c == nil {
				if c, err = listen(); err != nil {
					break
				}
				exits[from] = c
				wg.Go(func() { bareBack(front, c, from) })
			}
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(in[:4])), binary.BigEndian.Uint16(in[4:]))
			c.WriteToUDPAddrPort(in[header:n], to)
		}
		for _, c := range exits {
			c.Close()
		}
	})
	b.Cleanup(func() {
		front.Close()
		wg.Wait()
	})
	return addrPort(front)
}

func bareBack(front, c *net.UDPConn, to netip.AddrPort) {
	out := make([]byte, maxPacket)
	for {
		n, from, err := c.ReadFromUDPAddrPort(out[header:])
		if err != nil {
			return
		}
		putHeader(out, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		front.WriteToUDPAddrPort(out[:header+n], to)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUDP echoes 100,000 datagrams of 1,200 bytes per turn and reports the
// packets, both ways, per second of this process's own CPU.
func BenchmarkUDP(b *testing.B) {
	const packets = 100_000
	for _, sources := range []int{1, 32} {
		for _, kind := range []string{"bare", "session"} {
			b.Run(fmt.Sprint(kind, "/", sources, "-sources"), func(b *testing.B) {
				var at netip.AddrPort
				if kind == "bare" {
					at = serveBare(b)
				} else {
					at = serveUDP(b, New(Config{}), stats.New())
				}
				l := startLoad(b)
				l.run(b, at, sources, packets/10)
				b.ReportAllocs()
				start, got := cpu(), 0
				for b.Loop() {
					got += l.run(b, at, sources, packets)
				}
				b.ReportMetric(2*float64(got)/(cpu()-start).Seconds(), "packets/CPU-s")
				b.ReportMetric(100*(1-float64(got)/packets/float64(b.N)), "%lost")
			})
		}
	}
}

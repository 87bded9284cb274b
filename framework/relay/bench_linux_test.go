package relay

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// bare is what any Go program does: two io.Copy, which splice in the kernel.
func bare(client, server net.Conn) {
	done := make(chan struct{})
	go func() {
		io.Copy(client, server)
		client.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	io.Copy(server, client)
	server.(*net.TCPConn).CloseWrite()
	<-done
	client.Close()
	server.Close()
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// contest runs an order through a bare relay and through this one, in turn, so
// that whatever else the machine does hits both, and reports for each how much
// it did per second of its process's own CPU and per second of time.
func contest(b *testing.B, kind string, flows, perFlow int, amount float64, unit string) {
	r := New(Config{})
	b.Cleanup(func() { r.Close() })
	l := startLoad(b)
	names := []string{"bare", "relay"}
	fronts := []string{
		front(b, l.server, bare),
		front(b, l.server, func(c, s net.Conn) { r.Stream(c, s, nil, new(stats.Flow)) }),
	}
	var busy, took [2]time.Duration
	l.run(b, kind, fronts[0], flows, max(1, perFlow/16))
	l.run(b, kind, fronts[1], flows, max(1, perFlow/16))
	turn := 0
	for b.Loop() {
		for i := range names {
			i = (i + turn) % len(names)
			began, start := time.Now(), cpu()
			l.run(b, kind, fronts[i], flows, perFlow)
			busy[i] += cpu() - start
			took[i] += time.Since(began)
		}
		turn++
	}
	for i, name := range names {
		all := amount * float64(b.N)
		b.ReportMetric(all/busy[i].Seconds(), name+"-"+unit+"/CPU-s")
		b.ReportMetric(all/took[i].Seconds(), name+"-"+unit+"/s")
	}
	b.ReportMetric(busy[0].Seconds()/busy[1].Seconds(), "times-bare")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBulk downloads 2 GiB in all per turn.
func BenchmarkBulk(b *testing.B) {
	const total = 2 << 30
	for _, flows := range []int{1, 64} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) { contest(b, "bulk", flows, total/flows, total/1e9, "GB") })
	}
}

// BenchmarkShort makes 2,000 flows per turn that send and get 100 bytes.
func BenchmarkShort(b *testing.B) {
	const flows = 2000
	for _, atOnce := range []int{1, 64} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) { contest(b, "short", atOnce, flows, flows, "flows") })
	}
}

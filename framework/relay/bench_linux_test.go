package relay

import (
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

func joins(b *testing.B) map[string]func(client, server net.Conn) {
	r := New(Config{})
	b.Cleanup(func() { r.Close() })
	return map[string]func(client, server net.Conn){
		"bare":  bare,
		"relay": func(c, s net.Conn) { r.Stream(c, s, nil, new(stats.Flow)) },
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBulk downloads 4 GiB per turn and reports the relay process's own
// CPU and the wall rate, beside a bare relay.
func BenchmarkBulk(b *testing.B) {
	const total = 4 << 30
	for _, flows := range []int{1, 64} {
		for name, join := range joins(b) {
			b.Run(name+"/"+map[int]string{1: "1-flow", 64: "64-flows"}[flows], func(b *testing.B) {
				l := startLoad(b)
				address := front(b, l.server, join)
				l.run(b, "bulk", address, flows, 1<<20)
				b.SetBytes(total)
				start := cpu()
				for b.Loop() {
					l.run(b, "bulk", address, flows, total/flows)
				}
				b.ReportMetric(float64(b.N)*total/1e9/(cpu()-start).Seconds(), "GB/CPU-s")
			})
		}
	}
}

// BenchmarkShort makes flows that send and get 100 bytes.
func BenchmarkShort(b *testing.B) {
	const flows = 2000
	for _, atOnce := range []int{1, 64} {
		for name, join := range joins(b) {
			b.Run(name+"/"+map[int]string{1: "in-turn", 64: "64-at-once"}[atOnce], func(b *testing.B) {
				l := startLoad(b)
				address := front(b, l.server, join)
				l.run(b, "short", address, atOnce, flows/4)
				start := cpu()
				for b.Loop() {
					l.run(b, "short", address, atOnce, flows)
				}
				b.ReportMetric(float64(b.N)*flows/(cpu()-start).Seconds(), "flows/CPU-s")
			})
		}
	}
}

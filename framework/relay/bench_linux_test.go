package relay

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// BenchmarkIdle parks 500 flows that have carried a little both ways, and
// reports what one costs this process: heap, stacks and the runtime's own. The
// far ends are bare descriptors, which cost it nothing.
func BenchmarkIdle(b *testing.B) {
	const flows = 500
	for b.Loop() {
		r := New(Config{})
		before, stacksBefore := memory()
		var wg sync.WaitGroup
		var pairs []*Pair
		for range flows {
			c, client := rawPair(b)
			s, server := rawPair(b)
			pairs = append(pairs, NewPair(c, s))
			wg.Go(func() { r.Stream(c, s, nil, new(stats.Flow)) })
			carry(b, client, server)
			carry(b, server, client)
			b.Cleanup(func() { unix.Close(client); unix.Close(server) })
		}
		all, stacks := memory()
		b.ReportMetric((all-before)/flows, "B/flow")
		b.ReportMetric((stacks-stacksBefore)/flows, "stack-B/flow")
		for _, p := range pairs {
			p.Kill()
		}
		wg.Wait()
		r.Close()
	}
	b.ReportMetric(0, "ns/op")
}

func memory() (all, stacks float64) {
	runtime.GC()
	runtime.GC() // the second empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse + m.OtherSys), float64(m.StackInuse)
}

// rawPair is a connection and the bare descriptor at its other end.
func rawPair(b *testing.B) (near net.Conn, far int) {
	b.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "near")
	defer f.Close()
	if near, err = net.FileConn(f); err != nil {
		b.Fatal(err)
	}
	return near, fds[1]
}

// carry sends a little from one bare end to the other.
func carry(b *testing.B, from, to int) {
	b.Helper()
	msg := make([]byte, 500)
	if _, err := unix.Write(from, msg); err != nil {
		b.Fatal(err)
	}
	if _, err := unix.Read(to, msg); err != nil {
		b.Fatal(err)
	}
}

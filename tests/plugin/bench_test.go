package plugin

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// ways are the same outbound, which dials what it is told, in each place it
// can be; splice and copy keep the flow on the socket to the process.
var ways = []struct{ name, config string }{
	{"in-tree", "plugins: [{path: plugins/faulty}]\nmode: direct\n"},
	{"handed-back", "plugins: [{path: plugins/faulty}]\nproxies: [{name: out, type: faulty}]\nrules: ['MATCH,out']\n"},
	{"spliced", "plugins: [{path: plugins/faulty, env: {FAULT: splice}}]\nproxies: [{name: out, type: faulty}]\nrules: ['MATCH,out']\n"},
	{"copied", "plugins: [{path: plugins/faulty, env: {FAULT: copy}}]\nproxies: [{name: out, type: faulty}]\nrules: ['MATCH,out']\n"},
}

// cpu is the time that kernel and plugin have used.
func (k *kernel) cpu(t testing.TB) time.Duration {
	t.Helper()
	var ticks int
	for _, pid := range []int{k.Cmd.Process.Pid, k.plugin(t, "faulty").PID} {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			require.That(t, false, "/proc")
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		for _, field := range strings.Fields(after)[11:13] {
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// source sends zeros to whoever connects.
func source(t testing.TB) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() { // ends with ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 256<<10); ; {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// BenchmarkBytes is the CPU of kernel and plugin for a download, per GiB.
func BenchmarkBytes(b *testing.B) {
	const size = 2 << 30
	for _, w := range ways {
		b.Run(w.name, func(b *testing.B) {
			k, from := start(b, w.config), source(b)
			buf := make([]byte, 256<<10)
			before := k.cpu(b)
			for b.Loop() {
				c, err := connect(k.port, from)
				if err != nil {
					b.Fatal(err)
				}
				c.SetDeadline(time.Now().Add(5 * harness.Patience))
				for left := size; left > 0; {
					n, err := c.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					left -= n
				}
				c.Close()
			}
			b.SetBytes(size)
			b.ReportMetric((k.cpu(b)-before).Seconds()*(1<<30)/(size*float64(b.N)), "cpu-s/GiB")
		})
	}
}

// BenchmarkDial is the time until the first byte is back.
func BenchmarkDial(b *testing.B) {
	for _, w := range ways[:3] {
		b.Run(w.name, func(b *testing.B) {
			k, to := start(b, w.config), echo(b)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := flow(k.port, to); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
		})
	}
}

// BenchmarkPacket is the CPU of kernel and plugin for a packet there and back,
// 16 at a time.
func BenchmarkPacket(b *testing.B) {
	for _, w := range ways[:2] {
		b.Run(w.name, func(b *testing.B) {
			k, to := start(b, w.config), echo(b)
			u := associate(b, k.port)
			out, in := datagram(to, make([]byte, 1200)), make([]byte, 2048)
			round := func() (lost int) {
				for range 16 {
					u.Write(out)
				}
				for range 16 {
					u.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
					if _, err := u.Read(in); err != nil {
						lost++
					}
				}
				return lost
			}
			round()
			before, n, lost := k.cpu(b), 0, 0
			for b.Loop() {
				lost += round()
				n += 32
			}
			b.ReportMetric(float64((k.cpu(b)-before).Microseconds())/float64(n), "cpu-us/packet")
			b.ReportMetric(float64(lost)/float64(n/2), "lost")
		})
	}
}

// Command bench holds culvert against its budgets: it runs culvert and a bare
// relay (SOCKS5 parse, dial, io.Copy) one after the other under the same load,
// in turns, and prints what each costs. CPU is that of the relaying process
// alone, read from the system's clock for it; the load and the servers are
// other processes. Ratios carry over to other machines, absolutes do not.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "relay" {
		bareRelay(os.Args[2])
	}
	if len(os.Args) > 2 && os.Args[1] == "server" {
		server(os.Args[2])
	}
	rounds := flag.Int("rounds", 3, "turns that each gets; the median is printed")
	seconds := flag.Float64("seconds", 2, "length of one load")
	only := flag.String("only", "", "run the loads whose name contains this")
	keep := flag.String("culvert", "", "binary to measure; built when empty")
	flag.Parse()
	if err := run(*rounds, time.Duration(*seconds*float64(time.Second)), *only, *keep); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// load is one row of the table.
type load struct {
	name, unit string
	goal       string
	better     int // 1: more is better, -1: less is better
	run        func(t *target, d time.Duration) (float64, error)
}

var loads = []load{
	{"bulk, 1 flow", "GB/CPU-s", "≥ 1.0×", 1, func(t *target, d time.Duration) (float64, error) { return bulk(t, d, 1) }},
	{"bulk, 64 flows", "GB/CPU-s", "≥ 1.0×", 1, func(t *target, d time.Duration) (float64, error) { return bulk(t, d, 64) }},
	{"bulk, 1 flow, wall", "Gbit/s", "", 1, func(t *target, d time.Duration) (float64, error) { return bulkWall(t, d, 1) }},
	{"bulk, 64 flows, wall", "Gbit/s", "", 1, func(t *target, d time.Duration) (float64, error) { return bulkWall(t, d, 64) }},
	{"short flows, 64 at once", "flows/CPU-s", "≥ 0.9×", 1, func(t *target, d time.Duration) (float64, error) { return short(t, d, 64) }},
	{"short flows, one by one", "flows/CPU-s", "≥ 0.9×", 1, func(t *target, d time.Duration) (float64, error) { return short(t, d, 1) }},
	{"UDP, one session", "packets/CPU-s", "≥ 0.9×", 1, func(t *target, d time.Duration) (float64, error) { return packets(t, d, 1) }},
	{"UDP, 16 sessions", "packets/CPU-s", "≥ 0.9×", 1, func(t *target, d time.Duration) (float64, error) { return packets(t, d, 16) }},
	{"idle flow, memory", "KiB", "≤ 8", -1, func(t *target, _ time.Duration) (float64, error) { return idle(t, false) }},
	{"idle flow, descriptors", "fds", "2", -1, func(t *target, _ time.Duration) (float64, error) { return idle(t, true) }},
	{"idle process, memory", "MiB RSS", "≤ 16", -1, func(t *target, _ time.Duration) (float64, error) { return t.rssMiB() }},
	{"start to ready", "ms", "≤ 25", -1, func(t *target, _ time.Duration) (float64, error) { return t.startMS, nil }},
	{"start, CPU", "ms", "≤ 30", -1, func(t *target, _ time.Duration) (float64, error) { return t.startCPU, nil }},
}

func run(rounds int, d time.Duration, only, binary string) error {
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary == "" {
		binary = filepath.Join(dir, "culvert")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/culvert-proxy/culvert")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	origin, err := startServer(dir)
	if err != nil {
		return err
	}
	defer origin.stop()
	fmt.Printf("%-26s %14s %14s %8s %8s  %s\n", "load", "bare relay", "culvert", "ratio", "goal", "unit")
	for _, l := range loads {
		if only != "" && !strings.Contains(l.name, only) {
			continue
		}
		got := map[string][]float64{}
		for range rounds {
			for _, which := range []string{"bare", "culvert"} {
				v, err := once(dir, binary, which, origin, l, d)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", l.name, which, err)
				}
				got[which] = append(got[which], v)
			}
		}
		bare, ours := median(got["bare"]), median(got["culvert"])
		fmt.Printf("%-26s %14.2f %14.2f %7.2fx %8s  %s\n", l.name, bare, ours, ours/bare, l.goal, l.unit)
	}
	return nil
}

// once runs one load against a fresh process.
func once(dir, binary, which string, origin *originProcess, l load, d time.Duration) (float64, error) {
	t, err := startTarget(dir, binary, which, origin)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	return l.run(t, d)
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}

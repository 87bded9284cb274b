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
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
	before := flag.String("before", "", "another binary of culvert to measure in the same turns")
	flag.Parse()
	b := bench{rounds: *rounds, length: time.Duration(*seconds * float64(time.Second)), only: *only}
	if err := b.run(*keep, *before); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// load is one row of the table.
type load struct {
	name, unit string
	goal       string
	run        func(t *target, d time.Duration) (float64, error)
}

// manyRules is measured with a thousand rules, of which the last matches.
const manyRules = "1,000 rules, 64 at once"

var loads = []load{
	{"bulk, 1 flow", "GB/CPU-s", "≥ 1.0×", func(t *target, d time.Duration) (float64, error) { return bulk(t, d, 1) }},
	{"bulk, 64 flows", "GB/CPU-s", "≥ 1.0×", func(t *target, d time.Duration) (float64, error) { return bulk(t, d, 64) }},
	{"bulk, 1 flow, wall", "Gbit/s", "", func(t *target, d time.Duration) (float64, error) { return bulkWall(t, d, 1) }},
	{"bulk, 64 flows, wall", "Gbit/s", "", func(t *target, d time.Duration) (float64, error) { return bulkWall(t, d, 64) }},
	{"short flows, 64 at once", "flows/CPU-s", "≥ 0.9×", func(t *target, d time.Duration) (float64, error) { return short(t, d, 64) }},
	{"short flows, one by one", "flows/CPU-s", "≥ 0.9×", func(t *target, d time.Duration) (float64, error) { return short(t, d, 1) }},
	{"HTTP CONNECT, 64 at once", "flows/CPU-s", "", func(t *target, d time.Duration) (float64, error) { return connects(t, d, 64) }},
	{manyRules, "flows/CPU-s", "", func(t *target, d time.Duration) (float64, error) { return short(t, d, 64) }},
	{"UDP, one session", "packets/CPU-s", "≥ 0.9×", func(t *target, d time.Duration) (float64, error) { return packets(t, d, 1) }},
	{"UDP, 16 sessions", "packets/CPU-s", "≥ 0.9×", func(t *target, d time.Duration) (float64, error) { return packets(t, d, 16) }},
	{"idle flow, memory", "KiB", "≤ 8", func(t *target, _ time.Duration) (float64, error) { return idle(t, false) }},
	{"idle flow, descriptors", "fds", "2", func(t *target, _ time.Duration) (float64, error) { return idle(t, true) }},
	{"idle process, memory", "MiB RSS", "≤ 16", func(t *target, _ time.Duration) (float64, error) { return t.rssMiB() }},
	{"start to ready", "ms", "≤ 25", func(t *target, _ time.Duration) (float64, error) { return t.startMS, nil }},
	{"start, CPU", "ms", "≤ 30", func(t *target, _ time.Duration) (float64, error) { return t.startCPU, nil }},
}

// bench is what was asked for.
type bench struct {
	rounds int
	length time.Duration
	only   string
}

func (b bench) run(binary, before string) error {
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary == "" {
		if binary, err = build(dir); err != nil {
			return err
		}
	}
	origin, err := startServer()
	if err != nil {
		return err
	}
	defer origin.stop()
	binaries := []string{"", binary}
	fmt.Println(machine())
	fmt.Printf("%-26s %14s %14s %8s %8s  %-14s", "load", "bare relay", "culvert", "ratio", "goal", "unit")
	if before != "" {
		binaries = append(binaries, before)
		fmt.Printf("%14s %8s", "before", "ratio")
	}
	fmt.Println()
	for _, l := range loads {
		if !strings.Contains(l.name, b.only) {
			continue
		}
		got, err := b.measure(dir, binaries, origin, l)
		if err != nil {
			return err
		}
		fmt.Printf("%-26s %14.2f %14.2f %7.2fx %8s  %-14s", l.name, median(got[0]), median(got[1]), ratio(got[1], got[0]), l.goal, l.unit)
		if before != "" {
			fmt.Printf("%14.2f %7.2fx", median(got[2]), ratio(got[2], got[0]))
		}
		fmt.Println()
	}
	return nil
}

// measure runs one load against fresh processes, in turns, and returns what
// each round gave, by binary.
func (b bench) measure(dir string, binaries []string, origin *originProcess, l load) ([][]float64, error) {
	got := make([][]float64, len(binaries))
	for range b.rounds {
		for i, binary := range binaries {
			v, err := once(dir, binary, origin, l, b.length)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", l.name, binary, err)
			}
			got[i] = append(got[i], v)
		}
	}
	return got, nil
}

// ratio is the median of the rounds' ratios: what else the machine does is much
// the same within a round, and not over all of them.
func ratio(ours, bare []float64) float64 {
	r := make([]float64, len(ours))
	for i := range r {
		r[i] = ours[i] / bare[i]
	}
	return median(r)
}

// once runs one load against a fresh process.
func once(dir, binary string, origin *originProcess, l load, d time.Duration) (float64, error) {
	rules := 0
	if l.name == manyRules {
		rules = 1000
	}
	t, err := startTarget(dir, binary, origin, rules)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	return l.run(t, d)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// build builds culvert as a release is built.
func build(dir string) (string, error) {
	binary := filepath.Join(dir, "culvert")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/culvert-proxy/culvert")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
}

// machine says what figures depend on.
func machine() string {
	kernel := "unknown kernel"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(info), "model name\t: "); ok {
			cpu, _, _ = strings.Cut(after, "\n")
		}
	}
	return fmt.Sprintf("%d cores of %s, %s, %s", runtime.NumCPU(), cpu, kernel, runtime.Version())
}

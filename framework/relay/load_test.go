package relay

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// loadEnv makes the test binary a load generator: a process of its own, so
// that a benchmark's CPU time is the relay's alone.
const loadEnv = "CULVERT_RELAY_LOAD"

func TestMain(m *testing.M) {
	if os.Getenv(loadEnv) == "" {
		os.Exit(m.Run())
	}
	if err := generate(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// generate prints the address of its server, then obeys lines until stdin ends:
//
//	bulk ADDRESS FLOWS BYTES   download BYTES over each of FLOWS
//	short ADDRESS AT-ONCE N    N flows that send and get 100 bytes
//
// and answers each with "ok".
func generate(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go answerAll(l)
	fmt.Fprintln(out, l.Addr())
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var kind, address string
		var a, b int
		if _, err := fmt.Sscan(lines.Text(), &kind, &address, &a, &b); err != nil {
			return err
		}
		run := bulk
		if kind == "short" {
			run = short
		}
		if err := run(address, a, b); err != nil {
			return err
		}
		fmt.Fprintln(out, "ok")
	}
	return lines.Err()
}

// answerAll answers each connection's line "N\n" with N bytes, then half-closes.
func answerAll(l net.Listener) {
	block := make([]byte, 256<<10)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var line [100]byte
			if _, err := io.ReadFull(c, line[:]); err != nil {
				return
			}
			n, _ := strconv.Atoi(strings.TrimSpace(string(line[:])))
			for n > 0 {
				w, err := c.Write(block[:min(n, len(block))])
				if err != nil {
					return
				}
				n -= w
			}
		}()
	}
}

// ask sends one request for n bytes over c and reads the answer.
func ask(address string, n int, b []byte) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%-100d", n); err != nil {
		return err
	}
	got := 0
	for {
		m, err := c.Read(b)
		if got += m; err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if got != n {
		return fmt.Errorf("got %d bytes, want %d", got, n)
	}
	return nil
}

func bulk(address string, flows, n int) error { return inParallel(address, flows, flows, n, 256<<10) }

func short(address string, atOnce, n int) error {
	return inParallel(address, atOnce, n, 100, 1<<10)
}

func inParallel(address string, atOnce, flows, n, buffer int) error {
	var wg sync.WaitGroup
	var first error
	var mu sync.Mutex // guards flows, first
	for range atOnce {
		wg.Go(func() {
			b := make([]byte, buffer)
			for {
				mu.Lock()
				flows--
				more := flows >= 0
				mu.Unlock()
				if !more {
					return
				}
				if err := ask(address, n, b); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// load is a load generator that runs.
type load struct {
	server string // the address that its server answers at
	in     io.Writer
	out    *bufio.Reader
}

func startLoad(tb testing.TB) *load {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), loadEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	l := &load{in: in, out: bufio.NewReader(out)}
	l.server = l.line(tb)
	return l
}

func (l *load) line(tb testing.TB) string {
	tb.Helper()
	s, err := l.out.ReadString('\n')
	if err != nil {
		tb.Fatalf("load generator: %v", err)
	}
	return strings.TrimSpace(s)
}

// run gives the generator an order and waits until it has carried it out.
func (l *load) run(tb testing.TB, kind, address string, a, b int) {
	tb.Helper()
	fmt.Fprintln(l.in, kind, address, a, b)
	if s := l.line(tb); s != "ok" {
		tb.Fatalf("load generator: %s", s)
	}
}

// front accepts on loopback and gives each connection, with one dialled to
// server, to join.
func front(tb testing.TB, server string, join func(client, server net.Conn)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				s, err := net.DialTimeout("tcp", server, 10*time.Second)
				if err != nil {
					c.Close()
					return
				}
				join(c, s)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

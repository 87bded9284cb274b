package session

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// loadEnv makes the test binary a load generator: a process of its own, so
// that a benchmark's CPU time is the relay's alone.
const loadEnv = "CULVERT_SESSION_LOAD"

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

// generate runs an echo server and obeys lines "ADDRESS SOURCES PACKETS": it
// sends so many datagrams from so many sources through the relay at ADDRESS, at
// most 16 of each under way, and answers with how many came back.
func generate(in io.Reader, out io.Writer) error {
	server, err := listen()
	if err != nil {
		return err
	}
	server.SetReadBuffer(4 << 20)
	go echo(server)
	lines := bufio.NewScanner(in)
	var clients []*net.UDPConn
	for lines.Scan() {
		var address string
		var sources, packets int
		if _, err := fmt.Sscan(lines.Text(), &address, &sources, &packets); err != nil {
			return err
		}
		for len(clients) < sources {
			c, err := listen()
			if err != nil {
				return err
			}
			clients = append(clients, c)
		}
		fmt.Fprintln(out, exchange(clients[:sources], addrPort(server), netip.MustParseAddrPort(address), packets/sources))
	}
	return lines.Err()
}

// exchange sends each client's packets and counts the answers.
func exchange(clients []*net.UDPConn, server, relay netip.AddrPort, packets int) int {
	var wg sync.WaitGroup
	answers := make([]int, len(clients))
	for i, c := range clients {
		wg.Go(func() {
			b, in := make([]byte, 1200), make([]byte, maxPacket)
			putHeader(b, server)
			for sent, under := 0, 0; sent < packets || under > 0; {
				for ; sent < packets && under < 16; under++ {
					c.WriteToUDPAddrPort(b, relay)
					sent++
				}
				c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				if _, _, err := c.ReadFromUDPAddrPort(in); err != nil {
					under = 0 // lost
					continue
				}
				under--
				answers[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range answers {
		total += n
	}
	return total
}

// load is a load generator that runs.
type load struct {
	in  io.Writer
	out *bufio.Reader
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
	return &load{in, bufio.NewReader(out)}
}

// run gives the generator an order and returns how many answers it got.
func (l *load) run(tb testing.TB, relay netip.AddrPort, sources, packets int) (answers int) {
	tb.Helper()
	fmt.Fprintln(l.in, relay, sources, packets)
	s, err := l.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(strings.TrimSpace(s), &answers)
	}
	if err != nil {
		tb.Fatalf("load generator: %v", err)
	}
	return answers
}

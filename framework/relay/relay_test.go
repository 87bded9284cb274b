package relay

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// wait bounds everything that a test waits for.
const wait = 20 * time.Second

// flow is a Stream that runs, and the far ends of its connections.
type flow struct {
	relay          *Relay
	client, server net.Conn // the peers' ends
	stats          *stats.Flow
	pair           *Pair
	done           chan error
}

// start relays between two connections of which it has the far ends.
func start(t *testing.T, r *Relay, ends func(*testing.T) (near, far net.Conn), head []byte) *flow {
	t.Helper()
	c, client := ends(t)
	s, server := ends(t)
	f := &flow{relay: r, client: client, server: server, stats: new(stats.Flow), pair: NewPair(c, s), done: make(chan error, 1)}
	deadline := time.Now().Add(wait)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
	r.Start(c, s, head, f.stats, waiterOf(f.done))
	t.Cleanup(func() {
		client.Close()
		server.Close()
		f.pair.Kill()
	})
	return f
}

// ended is what Stream returned.
func (f *flow) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(wait):
		t.Fatal("stream still runs")
		return nil
	}
}

func newRelay(t *testing.T, c Config) *Relay {
	t.Helper()
	r := New(c)
	t.Cleanup(func() { r.Close() })
	return r
}

// socketPair connects over loopback.
func socketPair(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func tcpPair(t *testing.T) (near, far net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") }

func unixPair(t *testing.T) (near, far net.Conn) {
	return socketPair(t, "unix", t.TempDir()+"/s")
}

// wrappedPair is a socket behind a type that the relay does not know.
func wrappedPair(t *testing.T) (near, far net.Conn) {
	near, far = tcpPair(t)
	return wrapped{near.(*net.TCPConn)}, far
}

type wrapped struct{ *net.TCPConn }

func (w wrapped) ReadFrom(io.Reader) (int64, error) { panic("the relay moves bytes itself") }
func (w wrapped) WriteTo(io.Writer) (int64, error)  { panic("the relay moves bytes itself") }

var kinds = map[string]func(*testing.T) (near, far net.Conn){"tcp": tcpPair, "unix": unixPair, "wrapped": wrappedPair, "tls": tlsPair}

// send writes n random bytes in pieces, half-closes, and returns their hash.
func send(t *testing.T, c net.Conn, n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := sha256.New()
	block := make([]byte, 256<<10)
	for i := range block {
		block[i] = byte(rng.Uint32())
	}
	for n > 0 {
		from := rng.IntN(len(block) / 2)
		b := block[from:min(from+1+rng.IntN(len(block)/2), from+n, len(block))]
		h.Write(b)
		if _, err := c.Write(b); err != nil {
			t.Errorf("write: %v", err)
			break
		}
		n -= len(b)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Errorf("half-close: %v", err)
	}
	return h.Sum(nil)
}

func receive(t *testing.T, c net.Conn) (sum []byte, n int64) {
	h := sha256.New()
	n, err := io.Copy(h, c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return h.Sum(nil), n
}

func TestBytesArriveUnchangedBothWays(t *testing.T) {
	t.Parallel()
	for name, ends := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 64 << 20
			f := start(t, newRelay(t, Config{}), ends, nil)

			var wg sync.WaitGroup
			var sent, got [2][]byte
			var n [2]int64
			wg.Go(func() { sent[0] = send(t, f.client, size, 1) })
			wg.Go(func() { sent[1] = send(t, f.server, size, 2) })
			wg.Go(func() { got[0], n[0] = receive(t, f.server) })
			wg.Go(func() { got[1], n[1] = receive(t, f.client) })
			wg.Wait()

			if err := f.ended(t); err != nil {
				t.Errorf("stream: %v", err)
			}
			if !bytes.Equal(sent[0], got[0]) || !bytes.Equal(sent[1], got[1]) {
				t.Errorf("hashes differ: %d bytes up, %d down", n[0], n[1])
			}
			if up, down := f.stats.Up.Load(), f.stats.Down.Load(); up != size || down != size {
				t.Errorf("counted %d up, %d down, want %d", up, down, size)
			}
		})
	}
}

func TestHalfCloseLeavesTheOtherDirectionOpen(t *testing.T) {
	t.Parallel()
	for name, ends := range kinds {
		for _, side := range []string{"client", "server"} {
			t.Run(name+"/"+side, func(t *testing.T) {
				t.Parallel()
				f := start(t, newRelay(t, Config{}), ends, nil)
				first, second := f.client, f.server
				if side == "server" {
					first, second = second, first
				}

				first.Write([]byte("question"))
				first.(interface{ CloseWrite() error }).CloseWrite()
				question, err := io.ReadAll(second)
				if err != nil || string(question) != "question" {
					t.Fatalf("got %q, %v", question, err)
				}
				second.Write([]byte("answer"))
				second.(interface{ CloseWrite() error }).CloseWrite()
				answer, err := io.ReadAll(first)

				if err != nil || string(answer) != "answer" {
					t.Errorf("got %q, %v", answer, err)
				}
				if err := f.ended(t); err != nil {
					t.Errorf("stream: %v", err)
				}
			})
		}
	}
}

func TestSingleBytesPassAtOnce(t *testing.T) {
	t.Parallel()
	for name, ends := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const turns = 2000
			f := start(t, newRelay(t, Config{}), ends, nil)

			b := make([]byte, 1)
			for i := range turns {
				b[0] = byte(i)
				for _, hop := range [][2]net.Conn{{f.client, f.server}, {f.server, f.client}} {
					if _, err := hop[0].Write(b); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(hop[1], b); err != nil || b[0] != byte(i) {
						t.Fatalf("turn %d: got %d, %v", i, b[0], err)
					}
				}
			}

			if up, down := f.stats.Up.Load(), f.stats.Down.Load(); up != turns || down != turns {
				t.Errorf("counted %d up, %d down, want %d", up, down, turns)
			}
		})
	}
}

func TestHeadGoesFirstAndCounts(t *testing.T) {
	t.Parallel()
	f := start(t, newRelay(t, Config{}), tcpPair, []byte("early "))

	f.client.Write([]byte("late"))
	f.client.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(f.server)
	f.server.Close()

	if err != nil || string(got) != "early late" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := f.ended(t); err != nil {
		t.Errorf("stream: %v", err)
	}
	if up := f.stats.Up.Load(); up != uint64(len("early late")) {
		t.Errorf("counted %d up", up)
	}
}

func TestResetIsTheErrorAndReachesTheOtherSide(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 8 << 20} { // while copying, while splicing
		f := start(t, newRelay(t, Config{}), tcpPair, nil)
		var wg sync.WaitGroup
		wg.Go(func() { f.server.Write(make([]byte, size)) })
		if _, err := io.ReadFull(f.client, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		wg.Wait()

		f.client.(*net.TCPConn).SetLinger(0)
		f.client.Close()
		_, err := f.server.Read(make([]byte, 1))

		if err == nil || isTimeout(err) {
			t.Errorf("server read: %v", err)
		}
		if err := f.ended(t); framework.Classify(err) != framework.ErrRefused {
			t.Errorf("stream: %v, want a reset", err)
		}
		if down := f.stats.Down.Load(); down != uint64(size) {
			t.Errorf("counted %d down, want %d", down, size)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestKillEndsABlockedStream(t *testing.T) {
	t.Parallel()
	for name, ends := range kinds {
		for _, blocked := range []string{"reading", "writing up", "writing down"} {
			t.Run(name+"/"+blocked, func(t *testing.T) {
				t.Parallel()
				f := start(t, newRelay(t, Config{}), ends, nil)
				var wg sync.WaitGroup
				switch blocked {
				case "writing up":
					stuff(t, &wg, f.client, &f.stats.Up)
				case "writing down":
					stuff(t, &wg, f.server, &f.stats.Down)
				}

				f.pair.Kill()
				f.pair.Kill()

				if err := f.ended(t); !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %v, want %v", err, net.ErrClosed)
				}
				f.client.Close()
				f.server.Close()
				wg.Wait()
			})
		}
	}
}

// stuff writes to c until nothing moves any more.
func stuff(t *testing.T, wg *sync.WaitGroup, c net.Conn, count interface{ Load() uint64 }) {
	t.Helper()
	wg.Go(func() {
		for b := make([]byte, 256<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for last, same := uint64(0), 0; same < 5; <-tick.C {
		if n := count.Load(); n != last || n == 0 {
			last, same = n, 0
			continue
		}
		same++
	}
}

func TestKillBeforeTheStartEndsTheStreamAtOnce(t *testing.T) {
	t.Parallel()
	c, _ := tcpPair(t)
	s, _ := tcpPair(t)
	NewPair(c, s).Kill()

	err := newRelay(t, Config{}).Stream(c, s, []byte("x"), new(stats.Flow))

	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestCountsAreExactWhenKilled(t *testing.T) {
	t.Parallel()
	f := start(t, newRelay(t, Config{}), tcpPair, nil)
	var wg sync.WaitGroup
	stuff(t, &wg, f.server, &f.stats.Down)

	f.pair.Kill()
	f.ended(t)
	f.server.Close()
	wg.Wait()
	got, _ := io.Copy(io.Discard, f.client)

	if down := f.stats.Down.Load(); uint64(got) != down {
		t.Errorf("client got %d bytes, counted %d", got, down)
	}
}

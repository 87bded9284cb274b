package relay

import (
	"bytes"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-proxy/culvert/framework/stats"

	"github.com/culvert-proxy/culvert/tests/require"
)

// bulkDown sends size bytes from the server to the client, checks them, and
// ends the stream.
func bulkDown(t *testing.T, f *flow, size int) {
	t.Helper()
	sent := make(chan []byte, 1)
	go func() { sent <- send(t, f.server, size, 4) }()
	got, n := receive(t, f.client)
	if want := <-sent; !bytes.Equal(got, want) {
		t.Errorf("got %d bytes and another hash", n)
	}
	f.client.Close()
	if err := f.ended(t); err != nil {
		t.Errorf("stream: %v", err)
	}
	if down := f.stats.Down.Load(); down != uint64(size) {
		t.Errorf("counted %d down, want %d", down, size)
	}
}

func TestBulkGoesThroughAPipeThatComesBack(t *testing.T) {
	t.Parallel()
	r := newRelay(t, Config{})

	bulkDown(t, start(t, r, tcpPair, nil), 16<<20)

	if r.pipes.open.Load() == 0 {
		t.Error("no pipe was made")
	}
	r.Close()
	r.Close()
	bulkDown(t, start(t, r, tcpPair, nil), 2<<20)                            // a closed relay copies
	for end := time.Now().Add(wait); r.pipes.open.Load() > 0; runtime.GC() { // under race, a sync.Pool loses some
		if time.Now().After(end) {
			t.Fatalf("%d pipes open after Close", r.pipes.open.Load())
		}
	}
}

func TestWithoutPipesBytesAreCopied(t *testing.T) {
	t.Parallel()
	r := newRelay(t, Config{MaxPipes: -1})

	bulkDown(t, start(t, r, tcpPair, nil), 16<<20)

	if n := r.pipes.open.Load(); n != 0 {
		t.Errorf("%d pipes open", n)
	}
}

// TestSpliceThatIsRefusedInTheMiddleLosesNothing sends to a file opened for
// appending, which splice(2) refuses with EINVAL after the pipe is full.
func TestSpliceThatIsRefusedInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	file, err := os.OpenFile(t.TempDir()+"/out", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var f stats.Flow
	l := &leg{relay: newRelay(t, Config{}), count: &f.Up, src: rawConn(near), dst: raw, out: fileConn{near, file}}
	sent := make(chan []byte, 1)
	go func() { sent <- send(t, far, 4<<20, 5) }()

	if err := l.move(); err != io.EOF {
		t.Fatal(err)
	}

	file.Seek(0, io.SeekStart)
	got, n := receive(t, fileConn{near, file})
	if !bytes.Equal(got, <-sent) || n != 4<<20 || f.Up.Load() != 4<<20 {
		t.Errorf("got %d bytes, counted %d", n, f.Up.Load())
	}
	if !l.refused {
		t.Error("splice was not refused: the test tests nothing")
	}
}

// fileConn is a connection that writes to a file.
type fileConn struct {
	net.Conn
	file *os.File
}

func (f fileConn) Read(b []byte) (int, error)  { return f.file.Read(b) }
func (f fileConn) Write(b []byte) (int, error) { return f.file.Write(b) }

func TestSmallMessagesLeaveTheSplice(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	_, out := tcpPair(t)
	var f stats.Flow
	l := &leg{relay: newRelay(t, Config{}), count: &f.Up, src: rawConn(near), dst: rawConn(out), out: out, run: spliceAfter}
	done := make(chan error, 1)
	go func() { done <- l.move() }()

	far.SetWriteDeadline(time.Now().Add(wait))
	var seen uint64
	for range calmAfter + 1 {
		far.Write([]byte("x"))
		seen++
		for l.count.Load() != seen {
			runtime.Gosched()
		}
	}
	far.Close()

	if err := <-done; err != io.EOF {
		t.Fatal(err)
	}
	if l.splices() {
		t.Error("the leg still splices")
	}
}

func TestIdleFlowHoldsTwoDescriptorsAndLittleMemory(t *testing.T) {
	const flows = 200
	r := newRelay(t, Config{})
	for range 4 { // warm up: pipes and buffers of the pools
		bulkDown(t, start(t, r, tcpPair, nil), 2<<20)
	}
	var all []*flow
	pipes, before := countPipes(t), runtime.NumGoroutine()
	for range flows {
		f := start(t, r, tcpPair, nil)
		f.client.Write([]byte("x"))
		io.ReadFull(f.server, make([]byte, 1))
		all = append(all, f)
	}
	defer func() {
		for _, f := range all {
			f.pair.Kill()
			f.ended(t)
		}
		if n := countPipes(t); n > pipes {
			t.Errorf("%d pipe ends open, %d before", n, pipes)
		}
	}()

	if n := countPipes(t); n > pipes {
		t.Errorf("%d pipe ends open, %d before the flows", n, pipes)
	}
	if n := runtime.NumGoroutine() - before; n > 2*flows {
		t.Errorf("%d goroutines for %d flows", n, flows)
	}
}

// countPipes is how many descriptors of this process are pipes. Other tests
// that run at the same time have some too, so its caller is not parallel.
func countPipes(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		require.That(t, false, err.Error())
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			n++
		}
	}
	return n
}

func TestManyFlowsAtOnceShareFewPipes(t *testing.T) {
	t.Parallel()
	r := newRelay(t, Config{MaxPipes: 2})
	var wg sync.WaitGroup
	for range 16 {
		f := start(t, r, tcpPair, nil)
		wg.Go(func() { bulkDown(t, f, 2<<20) })
	}
	wg.Wait()

	if n := r.pipes.open.Load(); n > 2 {
		t.Errorf("%d pipes open, want at most 2", n)
	}
}

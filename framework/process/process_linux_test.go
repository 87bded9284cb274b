package process_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/process"
	"github.com/culvert-proxy/culvert/tests/require"
)

func addr(t testing.TB, a net.Addr) netip.AddrPort {
	t.Helper()
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	return ap
}

func self(t testing.TB) framework.Process {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return framework.Process{Path: exe, UID: int64(os.Getuid())}
}

func check(t testing.TB, f *process.Finder, q process.Query, want framework.Process) {
	t.Helper()
	got, err := f.Find(q)
	if err != nil || got != want {
		t.Errorf("%v: got %+v, %v; want %+v", q, got, err, want)
	}
}

// dial connects two sockets over loopback and returns the client's.
func dial(t testing.TB, network, to string) net.Conn {
	t.Helper()
	if strings.HasPrefix(network, "tcp") {
		l, err := net.Listen(network, to)
		if err != nil {
			require.That(t, false, network+": "+err.Error())
		}
		t.Cleanup(func() { l.Close() })
		to = l.Addr().String()
	}
	c, err := net.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOwnerOfASocketIsFound(t *testing.T) {
	t.Parallel()
	f := new(process.Finder)
	want := self(t)
	for network, to := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "udp4": "127.0.0.1:9", "udp6": "[::1]:9"} {
		c := dial(t, network, to)
		q := process.Query{Network: framework.TCP, Source: addr(t, c.LocalAddr()), Peer: addr(t, c.RemoteAddr())}
		if strings.HasPrefix(network, "udp") {
			q.Network = framework.UDP
		}

		check(t, f, q, want)
		q.Peer = netip.AddrPort{}
		check(t, f, q, want)
	}
}

func TestOwnerOfAnUnconnectedSocketIsFound(t *testing.T) {
	t.Parallel()
	f := new(process.Finder)
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			require.That(t, false, err.Error())
		}
		t.Cleanup(func() { c.Close() })
		port := addr(t, c.LocalAddr()).Port()

		check(t, f, process.Query{Network: framework.UDP, Source: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
			Peer: netip.MustParseAddrPort("127.0.0.1:53")}, self(t))
	}
}

func TestIPv4InAnIPv6SocketIsFound(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		require.That(t, false, err.Error())
	}
	t.Cleanup(func() { l.Close() })
	c := dial(t, "tcp4", "127.0.0.1:0")
	source := netip.AddrPortFrom(netip.AddrFrom16(addr(t, c.LocalAddr()).Addr().As16()), addr(t, c.LocalAddr()).Port())

	check(t, new(process.Finder), process.Query{Network: framework.TCP, Source: source, Peer: addr(t, c.RemoteAddr())}, self(t))
}

func TestOwnerInAnotherProcessIsFound(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMain$")
	cmd.Env = append(os.Environ(), childEnv+"="+l.Addr().String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // the child ends with its input
		cmd.Wait()
	})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })

	check(t, new(process.Finder), process.Query{Network: framework.TCP, Source: addr(t, c.RemoteAddr()), Peer: addr(t, c.LocalAddr())}, self(t))
}

// childEnv makes the test program a client that connects to its value and
// waits for the end of its input.
const childEnv = "CULVERT_PROCESS_TEST_CHILD"

func TestMain(m *testing.M) {
	to := os.Getenv(childEnv)
	if to == "" {
		os.Exit(m.Run())
	}
	if c, err := net.Dial("tcp4", to); err == nil {
		os.Stdin.Read(make([]byte, 1))
		c.Close()
	}
}

func TestSocketThatIsNotThereHasNoOwner(t *testing.T) {
	t.Parallel()
	f := new(process.Finder)
	c := dial(t, "tcp4", "127.0.0.1:0")
	for _, q := range []process.Query{
		{},
		{Network: framework.TCP, Source: netip.MustParseAddrPort("192.0.2.1:1234"), Peer: netip.MustParseAddrPort("192.0.2.2:80")},
		{Network: framework.TCP, Source: addr(t, c.LocalAddr()), Peer: netip.MustParseAddrPort("192.0.2.2:80")},
		{Network: framework.UDP, Source: netip.MustParseAddrPort("192.0.2.1:1234")},
		{Network: framework.UDP, Source: addr(t, c.LocalAddr())},
	} {
		if p, err := f.Find(q); !errors.Is(err, process.ErrNotFound) || p.UID != -1 || p.Path != "" {
			t.Errorf("%v: got %+v, %v", q, p, err)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	f := new(process.Finder)
	c := dial(b, "tcp4", "127.0.0.1:0")
	q := process.Query{Network: framework.TCP, Source: addr(b, c.LocalAddr()), Peer: addr(b, c.RemoteAddr())}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Find(q); err != nil {
			b.Fatal(err)
		}
	}
}

package wire

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func packetPair(t testing.TB) (a, b *PacketConn) {
	t.Helper()
	x, y, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	a, b = NewPacketConn(x), NewPacketConn(y)
	t.Cleanup(func() { a.Close(); b.Close() })
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	return a, b
}

func TestPacketsKeepBoundaryAndAddress(t *testing.T) {
	t.Parallel()
	a, b := packetPair(t)
	buf := make([]byte, 1<<16)
	for _, size := range []int{0, 1, 1200, firstRead, 65507} {
		for _, to := range addrs()[:3] {
			want := bytes.Repeat([]byte{byte(size)}, size)
			if _, err := a.WritePacket(want, to); err != nil {
				t.Fatal(err)
			}

			n, from, err := b.ReadPacket(buf)

			if err != nil || from != to || !bytes.Equal(buf[:n], want) {
				t.Errorf("%d bytes to %s: got %d from %s, %v", size, to, n, from, err)
			}
		}
	}
}

func TestLongDatagramIsCutToTheBuffer(t *testing.T) {
	t.Parallel()
	a, b := packetPair(t)
	a.WritePacket([]byte("hello"), addrs()[0])
	a.WritePacket([]byte("next"), addrs()[0])
	buf := make([]byte, 4)

	n, _, err := b.ReadPacket(buf)
	if err != nil || string(buf[:n]) != "hell" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	if n, _, _ = b.ReadPacket(buf); string(buf[:n]) != "next" {
		t.Errorf("got %q, want the next datagram", buf[:n])
	}
}

func TestDatagramThatFitsNoRecordIsAnError(t *testing.T) {
	t.Parallel()
	a, _ := packetPair(t)
	_, err := a.WritePacket(make([]byte, 65507), addrs()[3])
	if framework.Classify(err) != framework.ErrUnsupported {
		t.Errorf("got %v, want %v", err, framework.ErrUnsupported)
	}
}

func TestPeerThatDoesNotReadDropsPackets(t *testing.T) {
	t.Parallel()
	a, _ := packetPair(t)
	packet := make([]byte, 1200)
	for range 10000 {
		if _, err := a.WritePacket(packet, addrs()[0]); err != nil {
			t.Fatal(err)
		}
	}
	if a.Dropped() == 0 {
		t.Error("no packet was dropped, want the writer never to wait")
	}
}

func TestClosedSessionSaysSo(t *testing.T) {
	t.Parallel()
	a, b := packetPair(t)
	a.Close()
	a.Close()
	if _, err := a.WritePacket([]byte("x"), addrs()[0]); err != net.ErrClosed {
		t.Errorf("write: got %v, want %v", err, net.ErrClosed)
	}
	if _, _, err := a.ReadPacket(make([]byte, 9)); err != net.ErrClosed {
		t.Errorf("read: got %v, want %v", err, net.ErrClosed)
	}
	if _, _, err := b.ReadPacket(make([]byte, 9)); err == nil {
		t.Error("the other end reads on")
	}
}

func TestPacketPathDoesNotAllocate(t *testing.T) {
	a, b := packetPair(t)
	b.SetReadDeadline(time.Now().Add(time.Minute))
	buf, packet := make([]byte, 2048), make([]byte, 1200)
	one := func(to framework.Addr) {
		if _, err := a.WritePacket(packet, to); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.ReadPacket(buf); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range addrs()[:3] {
		for range 100 {
			one(to) // buffers reach their size
		}
		if n := testing.AllocsPerRun(500, func() { one(to) }); n != 0 {
			t.Errorf("to %s: %v allocations per packet, want 0", to, n)
		}
	}
}

func FuzzRecords(f *testing.F) {
	one, _ := AppendRecord(nil, []byte("hello"), addrs()[0])
	two, _ := AppendRecord(one, []byte("world"), addrs()[2])
	f.Add(one)
	f.Add(two)
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		x, y := net.Pipe()
		p := NewPacketConn(y)
		go func() { x.Write(in); x.Close() }()
		buf := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadPacket(buf)
			if err != nil {
				break
			}
			if !from.IsValid() && from.IP != (netip.Addr{}) || n > len(in) {
				t.Fatalf("read %d bytes from %v", n, from)
			}
		}
		p.Close()
	})
}

func BenchmarkRecords(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(map[int]string{1: "one", 16: "batch16"}[batch], func(b *testing.B) {
			x, y := packetPair(b)
			y.SetReadDeadline(time.Time{})
			packet, buf := make([]byte, 1200), make([]byte, 2048)
			to := addrs()[0]
			b.SetBytes(int64(len(packet)))
			b.ReportAllocs()
			for n := 0; n < b.N; n += batch {
				for range batch {
					x.WritePacket(packet, to)
				}
				for range batch {
					if _, _, err := y.ReadPacket(buf); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

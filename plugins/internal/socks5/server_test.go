package socks5

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a net.Conn that reads from in, in pieces of at most step bytes, and
// keeps what is written.
type script struct {
	net.Conn
	in   []byte
	step int
	out  bytes.Buffer
}

func (c *script) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.step)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *script) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *script) Close() error                { return nil }
func (c *script) Busy() bool                  { return true }
func (c *script) Hold() bool                  { return true }

// last is a Handler that keeps the last flow and answers it.
type last struct {
	flow *framework.Flow
	head []byte
}

func (h *last) HandleStream(_ context.Context, s framework.Stream, f *framework.Flow) {
	h.flow, h.head = f, s.Head
	s.Client.Reply(nil)
}

func (h *last) HandlePackets(context.Context, framework.PacketServer, framework.Origin) {}

func serve(hello string, step int, a framework.Admission) (string, *last) {
	h, c := new(last), &script{in: []byte(hello), step: step}
	s := &Server{Handler: h, Admission: a, Associations: new(Associations)}
	s.Serve(context.Background(), Accepted{Conn: c, Guard: c})
	return c.out.String(), h
}

func TestHostileHelloGetsARefusalOrAClose(t *testing.T) {
	t.Parallel()
	const hi, reply = "\x05\x01\x00", "\x00\x01\x00\x00\x00\x00\x00\x00"
	for hello, want := range map[string]string{
		"":             "",
		"\x00":         "",
		"\x03\x01\x00": "",
		"\x06\x01\x00": "",
		"\x05":         "",
		"\x05\x00":     "\x05\xff",
		"\x05\x01":     "",
		"\x05\x01\x01": "\x05\xff",
		"\x05\x01\xff": "\x05\xff",
		"\x05\xff\x00": "",
		hi:             "\x05\x00",
		hi + "\x04\x01\x00\x01\x7f\x00\x00\x01\x00\x50":                       "\x05\x00",
		hi + "\x05\x01\x00\x01\x7f\x00\x00\x01\x00":                           "\x05\x00",
		hi + "\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50":                       "\x05\x00\x05\x07" + reply,
		hi + "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50":                       "\x05\x00\x05\x07" + reply,
		hi + "\x05\xf0\x00\x01\x7f\x00\x00\x01\x00\x50":                       "\x05\x00\x05\x07" + reply,
		hi + "\x05\x01\x00\x00\x7f\x00\x00\x01\x00\x50":                       "\x05\x00\x05\x08" + reply,
		hi + "\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x50":                       "\x05\x00\x05\x08" + reply,
		hi + "\x05\x01\x00\x05\x7f\x00\x00\x01\x00\x50":                       "\x05\x00\x05\x08" + reply,
		hi + "\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00":                       "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x00\x00\x50":                                   "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x01.\x00\x50":                                  "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x03a\x00b\x00\x50":                             "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x03a b\x00\x50":                                "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x03a/b\x00\x50":                                "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x04a..b\x00\x50":                               "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x02.a\x00\x50":                                 "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x03a\r\n\x00\x50":                              "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x03a\xffb\x00\x50":                             "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x05127.1\x00\x50":                              "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x04[::]\x00\x50":                               "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\x40" + strings.Repeat("a", 64) + "\x00\x50":    "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\xff" + strings.Repeat("a.", 127) + "a\x00\x50": "\x05\x00\x05\x04" + reply,
		hi + "\x05\x01\x00\x03\xff" + strings.Repeat("a", 10):                 "\x05\x00",
		"\x05\x01\x02":                                "\x05\x02",
		"\x05\x01\x02\x05\x01u\x01p":                  "\x05\x02",
		"\x05\x01\x02\x01\x00":                        "\x05\x02",
		"\x05\x01\x02\x01\xffu":                       "\x05\x02",
		"\x05\x01\x02\x01\x00\x00":                    "\x05\x02\x01\x00",
		"\x04":                                        "",
		"\x04\x01\x00\x50\x7f\x00\x00":                "",
		"\x04\x01\x00\x50\x7f\x00\x00\x01user":        refusal4,
		"\x04\x02\x00\x50\x7f\x00\x00\x01\x00":        refusal4,
		"\x04\x01\x00\x00\x7f\x00\x00\x01\x00":        refusal4,
		"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00":    refusal4,
		"\x04\x01\x00\x50\x00\x00\x00\x01\x00a b\x00": refusal4,
		"\x04\x01\x00\x50\x00\x00\x00\x01\x00name":    refusal4,
		"\x04\x01\x00\x50\x7f\x00\x00\x01" + strings.Repeat("u", 256) + "\x00": refusal4,
		"\x04\x01\x00\x50\x7f\x00\x00\x01" + strings.Repeat("u", 100_000):      refusal4,
		"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + strings.Repeat("a", 100_000):  refusal4,
		strings.Repeat("\x05", 100_000):                                        "\x05\xff",
		strings.Repeat("\x04", 100_000):                                        refusal4,
	} {
		for _, step := range []int{1, 1 << 20} {
			got, h := serve(hello, step, inboundtest.Access{})
			if got != want || h.flow != nil {
				t.Errorf("%.40q by %d: got %q, flow %v, want %q", hello, step, got, h.flow, want)
			}
		}
	}
}

const refusal4 = "\x00\x5b\x00\x00\x00\x00\x00\x00"

func TestLongestHelloFits(t *testing.T) {
	t.Parallel()
	user := strings.Repeat("u", 255)
	name := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "a"
	hello := "\x05\xff" + strings.Repeat("\x02", 255) + "\x01\xff" + user + "\xff" + user + "\x05\x01\x00\x03\xfd" + name + "\x00\x50"
	for _, step := range []int{1, 700, 1 << 20} {
		got, h := serve(hello+"rest", step, inboundtest.Access{User: user, Password: user})
		if h.flow == nil || h.flow.Inbound.User != user || h.flow.Destination.Host != name {
			t.Fatalf("by %d: got %x, %+v", step, got, h.flow)
		}
		if step == 1<<20 && !strings.HasPrefix("rest", string(h.head)) {
			t.Errorf("got head %q", h.head)
		}
	}
}

func TestClientMapsWhatServersAnswer(t *testing.T) {
	t.Parallel()
	to := framework.Addr{Host: "a.test", Port: 80}
	for answer, want := range map[string]error{
		"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50":      nil,
		"\x05\x00\x05\x00\x00\x03\x00\x00\x50":                  nil,
		"\x05\x00\x05\x00\x00\x04" + strings.Repeat("\x01", 18): nil,
		"\x05\x00\x05\x01":                  framework.ErrRefused,
		"\x05\x00\x05\x02\x00\x01":          framework.ErrRefused,
		"\x05\x00\x05\x03\x00\x01":          framework.ErrUnreachable,
		"\x05\x00\x05\x04\x00\x01":          framework.ErrUnreachable,
		"\x05\x00\x05\x05\x00\x01":          framework.ErrRefused,
		"\x05\x00\x05\x06\x00\x01":          framework.ErrTimeout,
		"\x05\x00\x05\x07\x00\x01":          framework.ErrUnsupported,
		"\x05\x00\x05\x08\x00\x01":          framework.ErrUnsupported,
		"\x05\x00\x05\x00\x00\x09abcdefghi": framework.ErrProtocol,
		"\x05\x00\x04\x00":                  framework.ErrProtocol,
		"\x05\x02":                          framework.ErrAuth,
		"\x05\xff":                          framework.ErrAuth,
		"HTTP/1.1 400":                      framework.ErrProtocol,
		"":                                  framework.ErrProtocol,
		"\x05\x00\x05":                      framework.ErrProtocol,
	} {
		for _, step := range []int{1, 100} {
			err := Connect(&script{in: []byte(answer), step: step}, to, "", "")
			if got := framework.Classify(err); got != want {
				t.Errorf("%q by %d: got %v (%v), want %v", answer, step, got, err, want)
			}
		}
	}
	if err := Connect(&script{in: []byte("\x05\x02\x01\x01"), step: 9}, to, "u", "p"); !errors.Is(err, framework.ErrAuth) {
		t.Errorf("got %v, want %v", err, framework.ErrAuth)
	}
	if err := Connect(&script{}, to, strings.Repeat("u", 256), ""); !errors.Is(err, framework.ErrAuth) {
		t.Errorf("got %v, want %v", err, framework.ErrAuth)
	}
}

func TestClientReadsNothingBehindTheReply(t *testing.T) {
	t.Parallel()
	c := &script{in: []byte("\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50rest"), step: 100}
	if err := Connect(c, framework.Addr{Host: "a.test", Port: 80}, "u", "p"); err != nil || string(c.in) != "rest" {
		t.Errorf("got %v, left %q", err, c.in)
	}
	if got, want := c.out.String(), "\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x03\x06a.test\x00\x50"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAssociationsAreCountedByAddress(t *testing.T) {
	t.Parallel()
	table, ip := new(Associations), netip.MustParseAddr("192.0.2.1")
	want := func(user string, ok bool) {
		t.Helper()
		if got, have := table.user(ip); got != user || have != ok {
			t.Errorf("got %q, %v, want %q, %v", got, have, user, ok)
		}
	}
	want("", false)
	table.add(ip, "a")
	table.add(ip, "b")
	want("b", true)
	table.remove(ip, "b")
	want("a", true)
	table.remove(ip, "a")
	table.remove(ip, "a")
	want("", false)
}

func packets(t testing.TB) (*Packets, *net.UDPConn) {
	t.Helper()
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	client.SetDeadline(time.Now().Add(5 * time.Second))
	server.SetDeadline(time.Now().Add(30 * time.Second))
	return NewPackets(server, inboundtest.Access{}, nil), client
}

func TestPacketCostsNoAllocation(t *testing.T) {
	p, client := packets(t)
	b, back, m := make([]byte, 2048), make([]byte, 2048), new(framework.PacketMeta)
	for _, to := range []framework.Addr{{Host: "a.test", Port: 53}, {IP: netip.IPv6Loopback(), Port: 53}, {IP: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Port: 53}} {
		datagram, _ := AppendHeader(nil, to)
		datagram = append(datagram, "payload"...)
		n := testing.AllocsPerRun(100, func() {
			client.Write(datagram)
			n, err := p.ReadPacket(b, m)
			if err != nil || string(b[:n]) != "payload" || m.Destination != to {
				t.Fatalf("got %q, %+v, %v", b[:n], m, err)
			}
			if err := p.WritePacket(b[:n], m.Source, m.Destination); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(back); err != nil || !bytes.Equal(back[:n], datagram) {
				t.Fatalf("got %q, %v", back[:n], err)
			}
		})
		if n != 0 && !raceEnabled {
			t.Errorf("%v: got %v allocations, want 0", to, n)
		}
	}
}

func TestStoppedPacketsReadNoMoreAndStillWrite(t *testing.T) {
	t.Parallel()
	p, client := packets(t)
	client.Write([]byte("\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x35x"))
	m := new(framework.PacketMeta)
	if _, err := p.ReadPacket(make([]byte, 9), m); err != nil {
		t.Fatal(err)
	}
	reading := make(chan error)
	go func() {
		_, err := p.ReadPacket(make([]byte, 9), new(framework.PacketMeta))
		reading <- err
	}()

	p.Stop()

	if err := <-reading; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
	if err := p.WritePacket([]byte("late"), m.Source, m.Destination); err != nil {
		t.Error(err)
	}
	b := make([]byte, 64)
	if n, err := client.Read(b); err != nil || !bytes.HasSuffix(b[:n], []byte("late")) {
		t.Errorf("got %q, %v", b[:n], err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); errors.Is(err, os.ErrInvalid) {
		t.Error(err)
	}
}

func FuzzServe(f *testing.F) {
	f.Add("\x05\x01\x00\x05\x01\x00\x03\x06a.test\x00\x50rest", true)
	f.Add("\x05\x02\x00\x02\x01\x01u\x01p\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", true)
	f.Add("\x04\x01\x00\x50\x00\x00\x00\x01u\x00a.test\x00", false)
	f.Add("\x04\x01\x00\x50\x7f\x00\x00\x01\x00", false)
	f.Fuzz(func(t *testing.T, hello string, auth bool) {
		access := inboundtest.Access{}
		if auth {
			access = inboundtest.Access{User: "u", Password: "p"}
		}
		whole, h := serve(hello, 1<<20, access)
		slow, h2 := serve(hello, 1, access)
		if whole != slow || (h.flow == nil) != (h2.flow == nil) {
			t.Fatalf("%q: got %q at once and %q in pieces", hello, whole, slow)
		}
		if h.flow != nil && (!h.flow.Destination.IsValid() || h.flow.Destination.Port == 0 || auth && h.flow.Inbound.User == "") {
			t.Fatalf("%q: got flow %+v", hello, h.flow)
		}
	})
}

func FuzzClient(f *testing.F) {
	f.Add("\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50rest")
	f.Add("\x05\x02\x01\x00\x05\x05")
	f.Fuzz(func(t *testing.T, answer string) {
		Connect(&script{in: []byte(answer), step: 3}, framework.Addr{Host: "a.test", Port: 1}, "", "")
		Associate(&script{in: []byte(answer), step: 1 << 20}, "u", "p")
	})
}

func BenchmarkHandshake(b *testing.B) {
	s := &Server{Handler: new(last), Admission: inboundtest.Access{}}
	for name, hello := range map[string]string{
		"ip":   "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
		"name": "\x05\x01\x00\x05\x01\x00\x03\x06a.test\x00\x50",
		"v4":   "\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
	} {
		b.Run(name, func(b *testing.B) {
			c := &script{step: 1 << 20}
			b.ReportAllocs()
			for b.Loop() {
				c.in = []byte(hello)
				c.out.Reset()
				s.Serve(context.Background(), Accepted{Conn: c, Guard: c})
			}
		})
	}
}

func BenchmarkPacket(b *testing.B) {
	p, client := packets(b)
	p.conn.SetReadDeadline(time.Time{})
	datagram, _ := AppendHeader(nil, framework.Addr{Host: "a.test", Port: 53})
	datagram = append(datagram, make([]byte, 1200)...)
	buf, m := make([]byte, 2048), new(framework.PacketMeta)
	b.ReportAllocs()
	for b.Loop() {
		client.Write(datagram)
		p.ReadPacket(buf, m)
	}
}

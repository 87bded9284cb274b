package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// association is a SOCKS5 UDP client: RFC 1928 §7.
type association struct {
	control net.Conn
	packets *net.UDPConn
}

// associate asks the proxy at a TCP port of loopback for a UDP association.
func associate(t testing.TB, port int) *association { return associateAs(t, port, "") }

// associateAs is associate with the name of a user whose password is empty.
func associateAs(t testing.TB, port int, user string) *association {
	t.Helper()
	control, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	control.SetDeadline(time.Now().Add(harness.Patience))
	greeting, agreed := "\x05\x01\x00", "\x05\x00"
	if user != "" {
		greeting, agreed = "\x05\x01\x02\x01"+string(rune(len(user)))+user+"\x00", "\x05\x02\x01\x00"
	}
	io.WriteString(control, greeting+"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
	answer := make([]byte, len(agreed)+10)
	if _, err := io.ReadFull(control, answer); err != nil || !strings.HasPrefix(string(answer), agreed+"\x05\x00\x00\x01") {
		t.Fatalf("associate: answer % x, %v", answer, err)
	}
	answer = answer[len(agreed):]
	control.SetDeadline(time.Time{})
	relay := &net.UDPAddr{IP: answer[4:8], Port: int(binary.BigEndian.Uint16(answer[8:]))}
	packets, err := net.DialUDP("udp", nil, relay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	return &association{control, packets}
}

// send sends a datagram to host:port; host may be a name.
func (a *association) send(host string, port int, payload []byte) error {
	b := []byte{0, 0, 0}
	if ip, err := netip.ParseAddr(host); err != nil {
		b = append(append(b, 3, byte(len(host))), host...)
	} else if ip.Is4() {
		b = append(append(b, 1), ip.AsSlice()...)
	} else {
		b = append(append(b, 4), ip.AsSlice()...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(port))
	_, err := a.packets.Write(append(b, payload...))
	return err
}

// receive returns the next datagram and who it is said to be from: host:port,
// where the host may be a name.
func (a *association) receive(patience time.Duration) (from string, payload []byte, err error) {
	b := make([]byte, 65536)
	a.packets.SetReadDeadline(time.Now().Add(patience))
	n, err := a.packets.Read(b)
	if err != nil {
		return "", nil, err
	}
	b = append(b[:n], make([]byte, 7)...) // so that a short one can be looked at
	host, end := "", 4
	switch b[3] {
	case 1:
		host, end = net.IP(b[4:8]).String(), 8
	case 3:
		end = 5 + int(b[4])
		host = string(b[5:min(end, n)])
	}
	if end+2 > n || end == 4 || string(b[:3]) != "\x00\x00\x00" {
		return "", nil, fmt.Errorf("no SOCKS datagram: % x", b[:n])
	}
	return net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(b[end:]))), b[end+2 : n], nil
}

// ask sends a datagram and returns the answer.
func (a *association) ask(t testing.TB, host string, port int, payload string) (from, answer string) {
	t.Helper()
	if err := a.send(host, port, []byte(payload)); err != nil {
		t.Fatal(err)
	}
	from, b, err := a.receive(harness.Patience)
	if err != nil {
		t.Fatalf("%s:%d does not answer: %v", host, port, err)
	}
	return from, string(b)
}

// serveDNS is a DNS server that knows each name under test.: A is 192.0.2.1
// and TXT is who asked.
func serveDNS(t testing.TB) *net.UDPAddr {
	return listenUDP(t, func(from net.Addr, b []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(b) != nil || len(m.Questions) != 1 {
			return nil
		}
		q := m.Questions[0]
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type, TTL: 1}
		m.Response, m.Additionals = true, nil
		switch {
		case !strings.HasSuffix(q.Name.String(), ".test."):
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}}
		case q.Type == dnsmessage.TypeTXT:
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.TXTResource{TXT: []string{from.String()}}}}
		}
		answer, _ := m.Pack()
		return answer
	})
}

// query is a DNS question for an address.
func query(t testing.TB, id uint16, name string) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forwardUDP sends what comes to a port of loopback to host:port through an
// association with the proxy, and answers to the last who asked.
func forwardUDP(t testing.TB, proxy int, host string, port int) *net.UDPAddr {
	t.Helper()
	a := associate(t, proxy)
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var last atomic.Pointer[net.UDPAddr]
	done := make(chan struct{}, 2)
	go func() { // ends when pc is closed
		defer func() { done <- struct{}{} }()
		b := make([]byte, 65536)
		for {
			n, from, err := pc.ReadFromUDP(b)
			if err != nil {
				return
			}
			last.Store(from)
			a.send(host, port, b[:n])
		}
	}()
	go func() { // ends when a is closed
		defer func() { done <- struct{}{} }()
		for {
			_, answer, err := a.receive(time.Hour)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if to := last.Load(); err == nil && to != nil {
				pc.WriteToUDP(answer, to)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); a.packets.Close(); <-done; <-done })
	return pc.LocalAddr().(*net.UDPAddr)
}

func TestDNSQueriesPassThroughSOCKS5(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	server := serveDNS(t)

	for _, c := range []struct {
		in   int
		host string
	}{{k.mixed, "127.0.0.1"}, {k.socks, "127.0.0.1"}, {k.mixed, "origin.test"}, {k.socks, "Origin.Test"}} {
		a := associate(t, c.in)
		from, answer := a.ask(t, c.host, server.Port, string(query(t, 7, "name.test.")))

		var m dnsmessage.Message
		if err := m.Unpack([]byte(answer)); err != nil || m.ID != 7 || len(m.Answers) != 1 {
			t.Errorf("%s: got %v, %v", c.host, m, err)
		}
		if want := fmt.Sprintf("%s:%d", c.host, server.Port); !strings.EqualFold(from, want) {
			t.Errorf("answer is said to be from %s, want %s: whom the client asked", from, want)
		}
	}
}

func TestDigIsAnsweredThroughTheKernel(t *testing.T) {
	t.Parallel()
	dig := require.Tool(t, "dig")
	k := startOpen(t, "")
	server := serveDNS(t)

	for _, host := range []string{"127.0.0.1", "origin.test"} {
		forward := forwardUDP(t, k.socks, host, server.Port)
		for _, c := range []struct{ name, kind, want string }{
			{"a.test", "A", "192.0.2.1"}, {"b.test", "A", "192.0.2.1"}, {"c.test", "TXT", `"127.0.0.1:`}, {"name.invalid", "A", ""},
		} {
			out, err := exec.Command(dig, "@127.0.0.1", "-p", fmt.Sprint(forward.Port), "+tries=1", "+timeout=10", "+short", c.name, c.kind).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), c.want) || c.want == "" && len(out) > 0 {
				t.Errorf("dig %s %s: %q, %v, want %s", c.name, c.kind, out, err, c.want)
			}
		}
	}
	var udp int
	for _, f := range flows(t, k.Culvert, server.Port) {
		if f.Metadata.Network == "udp" && f.Metadata.Type == "Socks5" && f.Upload > 0 && f.Download > 0 && fmt.Sprint(f.Chains) == "[DIRECT]" {
			udp++
		}
	}
	if udp != 2 {
		t.Errorf("got %d flows of dig, want 2: %+v", udp, flows(t, k.Culvert, server.Port))
	}
}

func TestOneSourceKeepsItsPortTowardsAllDestinations(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	a := associate(t, k.mixed)

	ports := map[string]bool{}
	for i := range 5 {
		server := echoUDP(t)
		host := []string{"127.0.0.1", "origin.test"}[i%2]
		from, answer := a.ask(t, host, server.Port, fmt.Sprintf("to %d", i))
		seen, text, _ := strings.Cut(answer, "|")
		if from != fmt.Sprintf("%s:%d", host, server.Port) || text != fmt.Sprintf("to %d", i) {
			t.Errorf("got %q from %s, want it from %s:%d", answer, from, host, server.Port)
		}
		ports[seen] = true
	}

	if len(ports) != 1 {
		t.Errorf("servers see the source as %v, want one address", ports)
	}
}

func TestDatagramsKeepTheirSize(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	a, server := associate(t, k.socks), echoUDP(t)

	for _, size := range []int{0, 1, 1472, 9000, 60000} {
		payload := string(bytes.Repeat([]byte("x"), size))
		_, answer := a.ask(t, "127.0.0.1", server.Port, payload)
		if _, text, _ := strings.Cut(answer, "|"); text != payload {
			t.Errorf("got %d bytes, want %d", len(text), size)
		}
	}
}

func TestDatagramsOfUsersNeedAnOpenAssociation(t *testing.T) {
	t.Parallel()
	k := startOpen(t, `authentication: ["e:"]`)
	server := echoUDP(t)
	a := associateAs(t, k.mixed, "e")
	a.ask(t, "127.0.0.1", server.Port, "here")

	a.control.Close()

	k.Until("datagrams go on without their association", func() error {
		a.send("127.0.0.1", server.Port, []byte("gone"))
		if _, answer, err := a.receive(100 * time.Millisecond); err == nil {
			return fmt.Errorf("answer %q", answer)
		}
		return nil
	})
}

func TestGarbageDatagramsAreDropped(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	a, server := associate(t, k.mixed), echoUDP(t)

	for _, b := range []string{"", "\x00", "\x00\x00\x00", "\x00\x00\x00\x01\x7f", "\x00\x00\x00\x03\xff" + "short", "\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00",
		"\x00\x00\x01\x01\x7f\x00\x00\x01\x00\x35fragment", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x00\x00\x00\x03\x00\x00\x35x"} {
		if _, err := a.packets.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}

	if _, answer := a.ask(t, "127.0.0.1", server.Port, "fine"); !strings.HasSuffix(answer, "|fine") {
		t.Errorf("got %q, want fine", answer)
	}
}

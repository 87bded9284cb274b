package socks5

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

func TestAddressSurvivesTheWire(t *testing.T) {
	t.Parallel()
	for _, want := range []framework.Addr{
		{IP: netip.MustParseAddr("192.0.2.1"), Port: 53},
		{IP: netip.MustParseAddr("2001:db8::1"), Port: 65535},
		{Host: "example.test", Port: 0},
		{Host: "a_b.example.test", Port: 443},
	} {
		b, err := AppendAddr([]byte("x"), want)
		if err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		got, n, err := ParseAddr(append(b[1:], "rest"...), nil)
		if err != nil || got != want || n != len(b)-1 {
			t.Errorf("got %v, %d, %v, want %v, %d", got, n, err, want, len(b)-1)
		}
	}
}

func TestAddressIsPutInOneForm(t *testing.T) {
	t.Parallel()
	mapped := append([]byte{typeIPv6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 192, 0, 2, 1, 0, 80)
	for name, c := range map[string]struct {
		wire []byte
		want string
	}{
		"mapped address": {mapped, "192.0.2.1:80"},
		"literal name":   {append([]byte{typeName, 9}, "192.0.2.1\x00\x50"...), "192.0.2.1:80"},
		"literal v6":     {append([]byte{typeName, 3}, "::1\x00\x50"...), "[::1]:80"},
		"capitals":       {append([]byte{typeName, 9}, "MINE.Test\x00\x50"...), "mine.test:80"},
		"trailing dot":   {append([]byte{typeName, 10}, "mine.test.\x00\x50"...), "mine.test:80"},
	} {
		got, _, err := ParseAddr(c.wire, new(Names))
		if err != nil || got.String() != c.want {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestCutAddressIsShort(t *testing.T) {
	t.Parallel()
	for _, a := range []framework.Addr{{IP: netip.IPv6Loopback(), Port: 1}, {Host: "a.test", Port: 1}, anyIPv4} {
		whole, _ := AppendHeader(nil, a)
		for i := range whole {
			if _, _, err := ParseHeader(whole[:i], nil); !errors.Is(err, ErrShort) {
				t.Errorf("%v cut to %d: got %v, want %v", a, i, err, ErrShort)
			}
		}
	}
}

func TestBadAddressIsRefused(t *testing.T) {
	t.Parallel()
	if b, err := AppendAddr([]byte("x"), framework.Addr{Host: strings.Repeat("a", 256)}); err == nil || string(b) != "x" {
		t.Errorf("long name: got %q, %v", b, err)
	}
	if _, err := AppendAddr(nil, framework.Addr{}); !errors.Is(err, framework.ErrUnsupported) {
		t.Errorf("nowhere: got %v", err)
	}
	for _, wire := range []string{"\x00\x01\x02", "\x02\x01\x02", "\x03\x00\x00\x50", "\x03\x01.\x00\x50", "\x03\x01 \x00\x50", "\x03\x03a\x00b\x00\x50"} {
		if a, _, err := ParseAddr([]byte(wire), nil); !errors.Is(err, framework.ErrProtocol) {
			t.Errorf("%q: got %v, %v", wire, a, err)
		}
	}
}

func TestKnownAddressCostsNoAllocation(t *testing.T) {
	names := new(Names)
	for _, a := range []framework.Addr{{IP: netip.IPv6Loopback(), Port: 1}, {Host: "a.test", Port: 1}, {IP: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Port: 9}} {
		wire, _ := AppendHeader(nil, a)
		buf := make([]byte, 0, MaxHeader)
		n := testing.AllocsPerRun(100, func() {
			got, _, err := ParseHeader(wire, names)
			if err != nil || got != a {
				t.Fatalf("got %v, %v, want %v", got, err, a)
			}
			if out, _ := AppendHeader(buf, got); len(out) != len(wire) {
				t.Fatalf("got %d bytes, want %d", len(out), len(wire))
			}
		})
		if n != 0 {
			t.Errorf("%v: got %v allocations, want 0", a, n)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, a := range []framework.Addr{anyIPv4, {IP: netip.IPv6Loopback(), Port: 53}, {Host: "a.test", Port: 443}} {
		b, _ := AppendHeader(nil, a)
		f.Add(append(b, "payload"...))
	}
	f.Add([]byte{0, 0, 1, 1, 1, 2, 3, 4, 0, 80})
	f.Add([]byte{0, 0, 0, 3, 255, 'a'})
	names := new(Names)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, n, err := ParseHeader(b, names)
		if err != nil {
			return
		}
		if n > len(b) || !a.IsValid() {
			t.Fatalf("%x: got %v, %d", b, a, n)
		}
		again, err := AppendHeader(nil, a)
		if err != nil {
			t.Fatalf("%v: %v", a, err)
		}
		back, _, err := ParseHeader(append(again, b[n:]...), nil)
		if err != nil || back != a || !bytes.HasPrefix(again, []byte{0, 0, 0}) {
			t.Fatalf("%v came back as %v, %v", a, back, err)
		}
	})
}

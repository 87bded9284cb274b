package plugin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// connect opens a stream through a SOCKS5 port of loopback: RFC 1928.
func connect(port int, to netip.AddrPort) (net.Conn, error) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	ip := to.Addr().As4()
	c.SetDeadline(time.Now().Add(harness.Patience))
	io.WriteString(c, "\x05\x01\x00\x05\x01\x00\x01"+string(ip[:])+string(binary.BigEndian.AppendUint16(nil, to.Port())))
	answer := make([]byte, 12)
	if _, err := io.ReadFull(c, answer); err != nil {
		c.Close()
		return nil, err
	}
	if answer[3] != 0 {
		c.Close()
		return nil, fmt.Errorf("reply %d", answer[3])
	}
	return c, nil
}

// echoed sends a text through c and wants it back.
func echoed(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != text {
		return fmt.Errorf("got %q back, want %q", b, text)
	}
	return nil
}

// flow is a whole flow: connect, echo, close.
func flow(port int, to netip.AddrPort) error {
	c, err := connect(port, to)
	if err != nil {
		return err
	}
	defer c.Close()
	return echoed(c, "hello")
}

// echo answers streams and packets at one port with what they send.
func echo(t testing.TB) netip.AddrPort {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close(); pc.Close() })
	go func() { // ends with ln
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	go func() { // ends with pc
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			pc.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return at
}

// associate opens a UDP association and returns the socket to the relay.
func associate(t testing.TB, port int) *net.UDPConn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(harness.Patience))
	io.WriteString(c, "\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(c, answer); err != nil || answer[3] != 0 {
		t.Fatalf("associate: % x, %v", answer, err)
	}
	c.SetDeadline(time.Time{})
	u, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: answer[6:10], Port: int(binary.BigEndian.Uint16(answer[10:]))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	u.SetDeadline(time.Now().Add(harness.Patience))
	return u
}

// datagram is a payload as SOCKS5 carries it.
func datagram(to netip.AddrPort, payload []byte) []byte {
	ip := to.Addr().As4()
	b := append([]byte{0, 0, 0, 1}, ip[:]...)
	return append(binary.BigEndian.AppendUint16(b, to.Port()), payload...)
}

// refused is an address where nothing listens.
func refused(t testing.TB) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

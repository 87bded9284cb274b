package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
)

// bareRelay is the least that relays SOCKS5: it parses, dials, and copies with
// io.Copy, which splices. It has no rules, counts and limits.
func bareRelay(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			fatal(err)
		}
		go bareFlow(c.(*net.TCPConn))
	}
}

func bareFlow(c *net.TCPConn) {
	defer c.Close()
	b := make([]byte, 300)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return
	}
	if b[0] == 'C' {
		bareConnect(c, b)
		return
	}
	io.ReadFull(c, b[2:2+b[1]])
	c.Write([]byte{5, 0})
	if _, err := io.ReadFull(c, b[:10]); err != nil || b[3] != 1 {
		return
	}
	ip, _ := netip.AddrFromSlice(b[4:8])
	to := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[8:]))
	if b[1] == 3 {
		barePackets(c)
		return
	}
	bareJoin(c, to, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
}

// bareConnect is HTTP CONNECT to an address; b holds the first two bytes.
func bareConnect(c *net.TCPConn, b []byte) {
	n := 2
	for !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
		m, err := c.Read(b[n:])
		if n += m; err != nil {
			return
		}
	}
	_, rest, _ := bytes.Cut(b[:n], []byte(" "))
	to, _, _ := bytes.Cut(rest, []byte(" "))
	if ap, err := netip.ParseAddrPort(string(to)); err == nil {
		bareJoin(c, ap, []byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	}
}

// bareJoin dials, answers and copies both ways.
func bareJoin(c *net.TCPConn, to netip.AddrPort, answer []byte) {
	s, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	defer s.Close()
	c.Write(answer)
	done := make(chan struct{})
	go func() {
		io.Copy(c, s)
		c.CloseWrite()
		close(done)
	}()
	io.Copy(s, c)
	s.CloseWrite()
	<-done
}

// barePackets is one UDP association: a socket to the client, one to the
// outside, and a copy each way.
func barePackets(c *net.TCPConn) {
	in, _ := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	out, _ := net.ListenUDP("udp4", nil)
	defer in.Close()
	defer out.Close()
	port := in.LocalAddr().(*net.UDPAddr).Port
	c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, byte(port >> 8), byte(port)})
	client := make(chan netip.AddrPort, 1)
	go func() {
		b := make([]byte, 64<<10)
		source := <-client
		for {
			n, from, err := out.ReadFromUDPAddrPort(b[10:])
			if err != nil {
				return
			}
			ip := from.Addr().As4()
			copy(b, []byte{0, 0, 0, 1, ip[0], ip[1], ip[2], ip[3], byte(from.Port() >> 8), byte(from.Port())})
			in.WriteToUDPAddrPort(b[:10+n], source)
		}
	}()
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, source, err := in.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			select {
			case client <- source:
			default:
			}
			ip, _ := netip.AddrFromSlice(b[4:8])
			out.WriteToUDPAddrPort(b[10:n], netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[8:])))
		}
	}()
	io.Copy(io.Discard, c)
}

// What a TCP client asks of the server, by its first byte.
const (
	askSink = 's' // take all
	askPour = 'p' // send without end
	askEcho = 'e' // one message, back, close
	askHold = 'h' // stay open
)

// server is the process behind the relays.
func server(addr string) {
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		fatal(err)
	}
	go func() {
		b := make([]byte, 64<<10)
		c := u.(*net.UDPConn)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err == nil {
				c.WriteToUDPAddrPort(b[:n], from)
			}
		}
	}()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			fatal(err)
		}
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	b := make([]byte, 256<<10)
	n, err := c.Read(b)
	if err != nil {
		return
	}
	switch b[0] {
	case askSink:
		for err == nil {
			_, err = c.Read(b)
		}
	case askPour:
		for err == nil {
			_, err = c.Write(b)
		}
	case askEcho:
		c.Write(b[:n])
	case askHold:
		c.Write(b[:1])
		c.Read(b)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

package soak_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// door is a way into the kernel.
type door struct {
	port   int
	socks  bool
	user   string // with the password "mine"; "" for none
	byName bool   // destinations are told as soak.test
}

// doors are the ways in that are open whatever the step is.
func (w *world) doors() []door {
	return []door{
		{port: w.steady, socks: true}, {port: w.top}, {port: w.guarded, socks: true, user: "me"}, {port: w.guarded, user: "me"},
		{port: w.steady, socks: true, byName: true}, {port: w.top, byName: true}, {port: w.steady},
	}
}

// enter opens a flow to a port of loopback.
func (d door) enter(to int) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", d.port), harness.Patience)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(harness.Patience))
	if d.socks {
		err = d.askSocks(c, to)
	} else {
		err = d.askHTTP(c, to)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (d door) askHTTP(c net.Conn, to int) error {
	host, auth := "127.0.0.1", ""
	if d.byName {
		host = "soak.test"
	}
	if d.user != "" {
		auth = "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(d.user+":mine")) + "\r\n"
	}
	if _, err := fmt.Fprintf(c, "CONNECT %s:%d HTTP/1.1\r\nHost: %[1]s:%[2]d\r\n%s\r\n", host, to, auth); err != nil {
		return err
	}
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			return fmt.Errorf("after %q: %w", head, err)
		}
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer %q", head)
	}
	return nil
}

// askSocks is RFC 1928 and 1929 in as many round trips as they have.
func (d door) askSocks(c net.Conn, to int) error {
	if err := d.greet(c); err != nil {
		return err
	}
	request := []byte{5, 1, 0, 1, 127, 0, 0, 1}
	if d.byName {
		request = append([]byte{5, 1, 0, 3, 9}, "soak.test"...)
	}
	return exchange(c, binary.BigEndian.AppendUint16(request, uint16(to)), []byte{5, 0, 0, 1}, 6)
}

func (d door) greet(c net.Conn) error {
	if d.user == "" {
		return exchange(c, []byte{5, 1, 0}, []byte{5, 0}, 0)
	}
	if err := exchange(c, []byte{5, 1, 2}, []byte{5, 2}, 0); err != nil {
		return err
	}
	login := append([]byte{1, byte(len(d.user))}, d.user...)
	return exchange(c, append(append(login, 4), "mine"...), []byte{1, 0}, 0)
}

// exchange sends out and wants an answer, and rest bytes more.
func exchange(c net.Conn, out, want []byte, rest int) error {
	if _, err := c.Write(out); err != nil {
		return err
	}
	got := make([]byte, len(want)+rest)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got[:len(want)], want) {
		return fmt.Errorf("answer %x to %x, want %x", got, out, want)
	}
	return nil
}

// echoes sends a message and wants it back.
func echoes(c net.Conn, message string) error {
	c.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := io.WriteString(c, message); err != nil {
		return err
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != message {
		return fmt.Errorf("got %q, want %q", got, message)
	}
	return nil
}

// association is a client of SOCKS UDP ASSOCIATE.
type association struct{ control, packets net.Conn }

// associate opens an association at a port and sends through it from then on.
func associate(port int) (*association, error) {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	control, err := net.DialTimeout("tcp", address, harness.Patience)
	if err != nil {
		return nil, err
	}
	control.SetDeadline(time.Now().Add(harness.Patience))
	err = door{}.greet(control)
	if err == nil {
		err = exchange(control, []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, []byte{5, 0, 0, 1}, 6)
	}
	if err != nil {
		control.Close()
		return nil, err
	}
	packets, err := net.Dial("udp", address)
	if err != nil {
		control.Close()
		return nil, err
	}
	return &association{control, packets}, nil
}

func (a *association) close() {
	a.control.Close()
	a.packets.Close()
}

// tries is how often a datagram is sent before it counts as lost: a busy
// machine may drop one.
const tries = 3

// ask sends a datagram to a port of loopback and waits for it to come back. It
// returns how often it was sent.
func (a *association) ask(to int, message string) (sent int, err error) {
	header := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 1, 127, 0, 0, 1}, uint16(to))
	want, b := append(header, message...), make([]byte, 2048)
	for sent = 1; sent <= tries; sent++ {
		if _, err := a.packets.Write(want); err != nil {
			return sent, err
		}
		a.packets.SetReadDeadline(time.Now().Add(2 * time.Second))
		for err = nil; err == nil; {
			var n int
			if n, err = a.packets.Read(b); err == nil && bytes.Equal(b[:n], want) {
				return sent, nil
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, err
		}
	}
	return tries, fmt.Errorf("sent %d times: %w", tries, err)
}

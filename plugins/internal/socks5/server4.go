package socks5

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/destination"
)

// Version 4 and its 4a extension, from the notes of Koblas and Lee:
//
//	04 | command | port (2) | ip (4) | user … 00 [ | name … 00 when ip is 0.0.0.x, x ≠ 0 ]
//	00 | 5A or 5B | port (2) | ip (4)
const (
	version4 = 4
	granted4 = 0x5a
	refused4 = 0x5b
	fixed4   = 1 + 1 + 2 + 4
)

// request4 reads a request of version 4. Where authentication is required, the
// user is one with an empty password, since the protocol has no other.
func (c *session) request4() error {
	b, err := c.take(fixed4)
	if err != nil {
		return err
	}
	command, port, ip := b[1], port(b[2:]), [4]byte(b[4:])
	user, err := c.field()
	if err != nil {
		return c.refuse4(err)
	}
	if c.flow.Destination, err = c.destination4(ip, port); err != nil {
		return c.refuse4(err)
	}
	if command != commandConnect || port == 0 {
		return c.refuse4(errRequest)
	}
	if !c.server.Admission.Required(c.Source.Addr()) {
		return nil
	}
	if !c.server.Admission.Check(user, "") {
		return c.refuse4(errDenied)
	}
	c.flow.Inbound.User = user
	return nil
}

func (c *session) destination4(ip [4]byte, port uint16) (framework.Addr, error) {
	if [3]byte(ip[:3]) != [3]byte{} || ip[3] == 0 {
		return destination.IP(netip.AddrFrom4(ip), port), nil
	}
	name, err := c.field()
	if err != nil {
		return framework.Addr{}, err
	}
	return destination.New(name, port)
}

// field reads text up to a zero byte, which it uses up.
func (c *session) field() (string, error) {
	for n := 1; n <= maxField+1; n++ {
		b, err := c.peek(n)
		if err != nil {
			return "", err
		}
		if known := c.buf[c.start:min(c.end, c.start+maxField+1)]; len(known) > n {
			n = len(known) // look at once at all that is here
			b = known
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			text := string(b[:i])
			c.start += i + 1
			return text, nil
		}
	}
	return "", errRequest
}

// refuse4 answers no; its error ends the session.
func (c *session) refuse4(err error) error { return errors.Join(err, c.reply4(false)) }

func (c *session) reply4(ok bool) error {
	code := byte(refused4)
	if ok {
		code = granted4
	}
	return c.write(0, code, 0, 0, 0, 0, 0, 0)
}

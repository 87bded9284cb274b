package socks5

import (
	"errors"
	"fmt"
	"io"

	"github.com/culvert-proxy/culvert/framework"
)

// Protocol version, methods and commands, RFC 1928 §3 and §4.
const (
	version5 = 5

	methodNone     = 0
	methodPassword = 2
	methodRefused  = 0xff

	commandConnect   = 1
	commandBind      = 2
	commandAssociate = 3

	passwordVersion = 1 // RFC 1929 §2
)

var (
	errVersion     = framework.Classed(framework.ErrProtocol, errors.New("server does not speak socks 5"))
	errMethod      = framework.Classed(framework.ErrAuth, errors.New("server takes none of our authentication methods"))
	errCredentials = framework.Classed(framework.ErrAuth, errors.New("server refused user and password"))
	errTooLong     = framework.Classed(framework.ErrAuth, errors.New("user or password is longer than 255 bytes"))
)

// Connect asks the server at the other end of rw for a stream to a destination
// and reads not one byte past its answer. Without a user it offers no
// authentication, with one only user and password. Deadlines are the caller's.
// An answer that is a refusal has the class that fits its code.
func Connect(rw io.ReadWriter, to framework.Addr, user, password string) error {
	_, err := request(rw, commandConnect, to, user, password)
	return err
}

// Associate asks for a relay of datagrams and returns where to send them. Its
// IP may be unspecified: then it is the server's own. The relay lives as long
// as the stream below rw. The rest is as with Connect.
func Associate(rw io.ReadWriter, user, password string) (framework.Addr, error) {
	return request(rw, commandAssociate, anyIPv4, user, password)
}

func request(rw io.ReadWriter, command byte, to framework.Addr, user, password string) (framework.Addr, error) {
	buf := make([]byte, 0, 3+MaxAddr)
	if err := authenticate(rw, buf, user, password); err != nil {
		return framework.Addr{}, err
	}
	b, err := AppendAddr(append(buf, version5, command, 0), to)
	if err != nil {
		return framework.Addr{}, err
	}
	if _, err := rw.Write(b); err != nil {
		return framework.Addr{}, fmt.Errorf("write socks request: %w", err)
	}
	return readReply(rw, buf[:cap(buf)])
}

func authenticate(rw io.ReadWriter, buf []byte, user, password string) error {
	if len(user) > 255 || len(password) > 255 {
		return errTooLong
	}
	method := byte(methodNone)
	if user != "" {
		method = methodPassword
	}
	var answer [2]byte
	if err := exchange(rw, append(buf, version5, 1, method), answer[:]); err != nil {
		return fmt.Errorf("greet socks server: %w", err)
	}
	switch {
	case answer[0] != version5:
		return errVersion
	case answer[1] != method:
		return errMethod
	case method == methodNone:
		return nil
	}
	b := append(append(buf, passwordVersion, byte(len(user))), user...)
	b = append(append(b, byte(len(password))), password...)
	if err := exchange(rw, b, answer[:]); err != nil {
		return fmt.Errorf("authenticate to socks server: %w", err)
	}
	if answer[1] != 0 {
		return errCredentials
	}
	return nil
}

func exchange(rw io.ReadWriter, out, in []byte) error {
	if _, err := rw.Write(out); err != nil {
		return err
	}
	_, err := io.ReadFull(rw, in)
	return err
}

// minReply is the length of the shortest reply that says yes: an empty name.
const minReply = 3 + 1 + 1 + 2

// readReply reads: 05 | code | 00 | type address port. A server may leave out
// the address when it refuses, so the code is looked at first.
func readReply(r io.Reader, buf []byte) (framework.Addr, error) {
	got, err := io.ReadAtLeast(r, buf[:minReply], 2)
	if err != nil {
		return framework.Addr{}, fmt.Errorf("read socks reply: %w", err)
	}
	if buf[0] != version5 {
		return framework.Addr{}, errVersion
	}
	if buf[1] != 0 {
		return framework.Addr{}, codeError(buf[1])
	}
	if _, err := io.ReadFull(r, buf[got:minReply]); err != nil {
		return framework.Addr{}, fmt.Errorf("read socks reply: %w", err)
	}
	n := addrLen(buf[3], buf[4])
	if n == 0 {
		return framework.Addr{}, errType
	}
	if _, err := io.ReadFull(r, buf[minReply:3+n]); err != nil {
		return framework.Addr{}, fmt.Errorf("read socks reply: %w", err)
	}
	if buf[3] == typeName && buf[4] == 0 { // some servers say "nowhere" with an empty name
		return anyIPv4, nil
	}
	a, _, err := ParseAddr(buf[3:3+n], nil)
	return a, err
}

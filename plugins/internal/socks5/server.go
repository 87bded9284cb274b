package socks5

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/culvert-proxy/culvert/framework"
)

// Server is the engine of an inbound: it takes connections and hands flows to
// Handler. Its methods are safe for concurrent use; its fields are not to be
// changed after the first call.
type Server struct {
	Name         string // the inbound's, for Flow.Inbound
	Handler      framework.Handler
	Admission    framework.Admission
	Associations *Associations // nil refuses UDP ASSOCIATE

	buffers sync.Pool // of *[bufferSize]byte
}

// Guard bounds the time of a handshake. Both calls end it; false says that the
// inbound is closed and the connection is to end.
type Guard interface {
	Busy() bool // a flow begins, which outlives the inbound
	Hold() bool // the connection stays open as a sign of life, and ends with the inbound
}

// Accepted is a connection to serve.
type Accepted struct {
	Conn   net.Conn // has the deadline of the handshake
	Source netip.AddrPort
	Local  netip.AddrPort
	First  []byte // bytes that were read from Conn already; not kept
	Guard  Guard
}

// bufferSize holds the longest message of a client, which is user and password
// (1+1+255+1+255 bytes), and leaves room for what comes with it.
const bufferSize = 1024

// maxField bounds the user and the name of version 4, which has no lengths;
// chosen as version 5's limit.
const maxField = 255

var (
	errGreeting = errors.New("client does not speak socks")
	errDenied   = errors.New("client is not authenticated")
	errRequest  = errors.New("client asks for what is not served")
)

// session is one connection until its flow is handed over, and the Replier of
// that flow.
type session struct {
	server *Server
	Accepted
	flow    framework.Flow
	version byte

	buf        *[bufferSize]byte // nil once released
	start, end int               // what is read and not used
	out        [22]byte          // a reply is at most 4+16+2 bytes
}

// Serve speaks SOCKS 4, 4a or 5 on a, hands its flow over, and returns when
// that or the association has ended. It owns a.Conn.
func (s *Server) Serve(ctx context.Context, a Accepted) {
	c := &session{server: s, Accepted: a}
	c.buf, _ = s.buffers.Get().(*[bufferSize]byte)
	if c.buf == nil {
		c.buf = new([bufferSize]byte)
	}
	c.end = copy(c.buf[:], a.First)
	c.First = nil
	command, err := c.handshake()
	if err != nil || !c.ready(command) {
		c.release()
		c.Conn.Close()
		return
	}
	head := c.release()
	if command == commandAssociate {
		c.associate()
		return
	}
	s.Handler.HandleStream(ctx, framework.Stream{Conn: c.Conn, Head: head, Client: c}, &c.flow)
}

// ServePackets hands the datagrams of c to Handler, under the type "Socks5",
// and returns at once; stop ends the reading. Handler owns c.
func (s *Server) ServePackets(ctx context.Context, c net.PacketConn) (stop func()) {
	p := NewPackets(c, s.Admission, s.Associations)
	o := framework.Origin{Name: s.Name, Type: "Socks5"}
	if u, ok := c.LocalAddr().(*net.UDPAddr); ok {
		o.Local = netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
	}
	go s.Handler.HandlePackets(ctx, p, o) // ends after stop
	return p.Stop
}

// ready ends the time of the handshake.
func (c *session) ready(command byte) bool {
	if command == commandAssociate {
		return c.Guard.Hold()
	}
	return c.Guard.Busy()
}

// handshake reads up to the end of the request. With an error the client has
// had its answer.
func (c *session) handshake() (command byte, err error) {
	b, err := c.peek(1)
	if err != nil {
		return 0, err
	}
	c.version = b[0]
	c.flow.Network = framework.TCP
	c.flow.Source = c.Source
	c.flow.Inbound = framework.Origin{Name: c.server.Name, Type: "Socks5", Local: c.Local}
	switch c.version {
	case version5:
		if err := c.negotiate(); err != nil {
			return 0, err
		}
		return c.request5()
	case version4:
		c.flow.Inbound.Type = "Socks4"
		return commandConnect, c.request4()
	}
	return 0, errGreeting
}

// negotiate agrees on a method: password where it is required, else none. A
// client that offers password only, where none is needed, may say any.
func (c *session) negotiate() error {
	b, err := c.peek(2)
	if err != nil {
		return err
	}
	count := int(b[1])
	if b, err = c.take(2 + count); err != nil {
		return err
	}
	required := c.server.Admission.Required(c.Source.Addr())
	method := byte(methodRefused)
	for _, offered := range b[2:] {
		switch {
		case offered == methodPassword && method == methodRefused:
			method = methodPassword
		case offered == methodNone && !required:
			method = methodNone
		}
	}
	if err := c.write(version5, method); err != nil {
		return err
	}
	switch method {
	case methodRefused:
		return errDenied
	case methodPassword:
		return c.password(required)
	}
	return nil
}

// password reads: 01 | n user | n password, and answers 01 | status.
func (c *session) password(required bool) error {
	b, err := c.peek(2)
	if err != nil {
		return err
	}
	if b[0] != passwordVersion {
		return errGreeting
	}
	n := int(b[1])
	if b, err = c.peek(2 + n + 1); err != nil {
		return err
	}
	m := int(b[2+n])
	if b, err = c.take(2 + n + 1 + m); err != nil {
		return err
	}
	if !required {
		return c.write(passwordVersion, 0)
	}
	user := string(b[2 : 2+n])
	if !c.server.Admission.Check(user, string(b[2+n+1:])) {
		return errors.Join(errDenied, c.write(passwordVersion, 1))
	}
	c.flow.Inbound.User = user
	return c.write(passwordVersion, 0)
}

// request5 reads: 05 | command | 00 | type address port.
func (c *session) request5() (command byte, err error) {
	b, err := c.peek(5)
	if err != nil {
		return 0, err
	}
	if b[0] != version5 {
		return 0, errGreeting
	}
	n := addrLen(b[3], b[4])
	if n == 0 {
		return 0, c.refuse(codeAddressType)
	}
	if b, err = c.take(3 + n); err != nil {
		return 0, err
	}
	command = b[1]
	switch {
	case command == commandAssociate && c.server.Associations != nil:
		return command, nil // the address says what the client sends from, if it knows
	case command != commandConnect:
		return 0, c.refuse(codeCommand)
	}
	c.flow.Destination, _, err = ParseAddr(b[3:], nil)
	if err != nil || c.flow.Destination.Port == 0 {
		return 0, c.refuse(codeHost)
	}
	return command, nil
}

// refuse answers with a code; its error ends the session.
func (c *session) refuse(code byte) error { return errors.Join(errRequest, c.reply5(code, c.Local)) }

// Reply tells the client how the dial ended, as framework.Replier says.
func (c *session) Reply(err error) error {
	if c.version == version4 {
		return c.reply4(err == nil || framework.Classify(err) == framework.ErrRejected)
	}
	return c.reply5(errorCode(err), c.Local)
}

// reply5 writes: 05 | code | 00 | type address port.
func (c *session) reply5(code byte, bound netip.AddrPort) error {
	a := framework.AddrFrom(bound)
	if !a.IsValid() {
		a = anyIPv4
	}
	b, err := AppendAddr(append(c.out[:0], version5, code, 0), a)
	if err != nil {
		return err
	}
	_, err = c.Conn.Write(b)
	return err
}

func (c *session) write(b ...byte) error {
	_, err := c.Conn.Write(append(c.out[:0], b...))
	return err
}

// peek returns the next n bytes without using them up.
func (c *session) peek(n int) ([]byte, error) {
	if c.start+n > len(c.buf) { // only what a client sent ahead fills the front
		c.end = copy(c.buf[:], c.buf[c.start:c.end])
		c.start = 0
	}
	for c.end-c.start < n {
		m, err := c.Conn.Read(c.buf[c.end:])
		c.end += m
		if err != nil && c.end-c.start < n {
			return nil, err
		}
	}
	return c.buf[c.start : c.start+n], nil
}

// take returns the next n bytes; they stand until the next peek or take.
func (c *session) take(n int) ([]byte, error) {
	b, err := c.peek(n)
	if err == nil {
		c.start += n
	}
	return b, err
}

// release gives the buffer back and returns a copy of what is left in it.
func (c *session) release() []byte {
	if c.buf == nil {
		return nil
	}
	var rest []byte
	if c.start < c.end {
		rest = append(rest, c.buf[c.start:c.end]...)
	}
	c.server.buffers.Put(c.buf)
	c.buf = nil
	return rest
}

// associate answers with the socket for datagrams and holds the association
// until the client ends its connection.
func (c *session) associate() {
	defer c.Conn.Close()
	if c.server.Admission.Required(c.Source.Addr()) {
		user := c.flow.Inbound.User
		c.server.Associations.add(c.Source.Addr(), user)
		defer c.server.Associations.remove(c.Source.Addr(), user)
	}
	if c.reply5(codeOK, c.Local) != nil {
		return
	}
	for err := error(nil); err == nil; { // until the client goes; what it sends means nothing
		_, err = c.Conn.Read(c.out[:])
	}
}

// port reads a port in network order.
func port(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

package httpproxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/destination"
)

// Times; chosen: longer than browsers keep connections that they mean to use,
// and enough for an answer to arrive before a reset.
const (
	idleTime   = 60 * time.Second
	lingerTime = time.Second
)

// maxLinger bounds what is read and dropped after a last answer, in bytes.
const maxLinger = 256 << 10

// Server is the engine of an inbound: it takes connections and hands flows to
// Handler. Its methods are safe for concurrent use; its fields are not to be
// changed after the first call.
type Server struct {
	Name          string // the inbound's, for Flow.Inbound
	Handler       framework.Handler
	Admission     framework.Admission
	HandshakeTime time.Duration // for each head of a request after the first

	pools pools
}

// Guard bounds the time of what a client lets the inbound wait for. False says
// that the inbound is closed and the connection is to end.
type Guard interface {
	Wait(d time.Duration) bool // for a request, which may be cut
	Busy() bool                // a flow begins, which outlives the inbound
}

// Accepted is a connection to serve.
type Accepted struct {
	Conn   net.Conn // has the deadline of the handshake
	Source netip.AddrPort
	Local  netip.AddrPort
	First  []byte // bytes that were read from Conn already; not kept
	Guard  Guard
}

// session is one client's connection, and the Replier of its CONNECT.
type session struct {
	server *Server
	Accepted
	in     reader
	up     *upstream // of plain requests, nil when none is open
	flow   framework.Flow
	handed bool     // the handler has Conn
	out    [48]byte // what CONNECT is answered
}

// Serve answers requests until the client is done or has become a tunnel, and
// then until that has ended. It owns a.Conn.
func (s *Server) Serve(ctx context.Context, a Accepted) {
	c := &session{server: s, Accepted: a}
	c.in = reader{src: a.Conn, pools: &s.pools}
	c.in.prepend(a.First)
	c.First = nil
	defer c.end()
	for c.exchange(ctx) && c.await() {
	}
}

func (c *session) end() {
	c.in.release()
	if c.up != nil {
		c.up.close()
	}
	if !c.handed {
		c.Conn.Close()
	}
}

// await waits for the next request, and holds no buffer meanwhile.
func (c *session) await() bool {
	if c.up != nil && c.up.in.buffered() == 0 {
		c.up.in.release()
	}
	if c.in.buffered() == 0 && (!c.Guard.Wait(idleTime) || c.in.idle() != nil) {
		return false
	}
	return c.Guard.Wait(c.server.HandshakeTime)
}

// exchange reads and serves one request and says whether to go on.
func (c *session) exchange(ctx context.Context) bool {
	h := c.server.pools.head()
	err := h.read(&c.in, true)
	var r request
	if err == nil {
		r, err = h.parseRequest()
	}
	if err != nil {
		c.server.pools.giveHead(h)
		return c.malformed(err)
	}
	user, refused := c.authenticate(h)
	if refused != 0 {
		keep := r.keep && r.body.kind == noBody && refused == 407 && string(r.method) != "HEAD"
		c.server.pools.giveHead(h)
		return c.answer(refused, keep)
	}
	c.flow = framework.Flow{Network: framework.TCP, Source: c.Source,
		Inbound: framework.Origin{Name: c.server.Name, Type: "HTTP", User: user, Local: c.Local}}
	if string(r.method) == "CONNECT" {
		to, err := destination.Split(string(r.target), 0)
		c.server.pools.giveHead(h)
		if err != nil || r.body.kind != noBody {
			return c.answer(400, false)
		}
		c.flow.Destination = to
		c.flow.Inbound.Type = "HTTPS"
		c.tunnel(ctx)
		return false
	}
	keep := c.forward(ctx, h, r)
	c.server.pools.giveHead(h)
	return keep
}

// malformed answers what is no request. A client that went away gets nothing.
func (c *session) malformed(err error) bool {
	switch {
	case errors.Is(err, errTooLarge):
		return c.answer(431, false)
	case errors.Is(err, errMalformed):
		return c.answer(400, false)
	}
	return false
}

// tunnel hands the connection over.
func (c *session) tunnel(ctx context.Context) {
	var head []byte
	if n := c.in.buffered(); n > 0 {
		p, _ := c.in.next()
		head = append(head, p...)
	}
	c.in.release()
	if c.up != nil {
		c.up.close()
		c.up = nil
	}
	if !c.Guard.Busy() {
		return
	}
	c.handed = true
	c.server.Handler.HandleStream(ctx, framework.Stream{Conn: c.Conn, Head: head, Client: c}, &c.flow)
}

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// Reply tells the client how the dial of CONNECT ended, as framework.Replier
// says. A flow that policy refused looks open and then ends.
func (c *session) Reply(err error) error {
	if err == nil || framework.Classify(err) == framework.ErrRejected {
		_, err := c.Conn.Write(append(c.out[:0], established...))
		return err
	}
	_, err = c.Conn.Write(appendAnswer(nil, statusOf(err), false, ""))
	return err
}

// statusOf is the status that tells a client about a dial error.
func statusOf(err error) int {
	if framework.Classify(err) == framework.ErrTimeout {
		return 504
	}
	return 502
}

// authenticate says who the client is; refused is a status when it may not go
// on.
func (c *session) authenticate(h *head) (user string, refused int) {
	if !c.server.Admission.Required(c.Source.Addr()) {
		return "", 0
	}
	value, n := h.value("proxy-authorization")
	scheme, encoded, _ := bytes.Cut(value, []byte(" "))
	if n != 1 || !isName(scheme, "basic") {
		return "", 407
	}
	text, err := base64.StdEncoding.DecodeString(string(bytes.TrimLeft(encoded, " ")))
	user, password, found := strings.Cut(string(text), ":")
	if err != nil || !found || !c.server.Admission.Check(user, password) {
		return "", 403
	}
	return user, 0
}

// answer sends an answer of our own. Without keep it is the last one.
func (c *session) answer(status int, keep bool) bool {
	extra := ""
	if status == 407 {
		extra = "Proxy-Authenticate: Basic realm=\"culvert\"\r\n"
	}
	_, err := c.Conn.Write(appendAnswer(nil, status, keep, extra))
	if err == nil && keep {
		return true
	}
	if err == nil {
		c.linger()
	}
	return false
}

// texts are the answers of our own.
var texts = map[int]string{
	400: "Bad Request",
	403: "Forbidden",
	407: "Proxy Authentication Required",
	431: "Request Header Fields Too Large",
	502: "Bad Gateway",
	504: "Gateway Timeout",
}

func appendAnswer(b []byte, status int, keep bool, extra string) []byte {
	text := texts[status]
	b = append(strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10), ' ')
	b = append(append(append(b, text...), "\r\n"...), extra...)
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(text)+1), 10), "\r\n\r\n"...)
	return append(append(b, text...), '\n')
}

// linger reads what the client still sends, for a moment: closing with bytes
// unread resets the connection, and the answer could be lost.
func (c *session) linger() {
	if closeWrite(c.Conn) != nil || !c.Guard.Wait(lingerTime) {
		return
	}
	for dropped := 0; dropped < maxLinger; {
		p, err := c.in.next()
		if err != nil {
			return
		}
		dropped += len(p)
		c.in.discard(len(p))
	}
}

// closeWrite half-closes c where that is possible.
func closeWrite(c io.Closer) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

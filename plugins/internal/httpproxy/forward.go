package httpproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/plugins/internal/destination"
)

// exchange is one plain request and its answer.
type exchange struct {
	*session
	up      *upstream
	request request
	method  string
	moved   atomic.Uint64 // counts pieces of the answer

	quit    chan struct{} // closed when the answer is over
	through chan struct{} // closed when upload is done with the body; nil without one
	done    chan struct{} // closed when upload has ended
	sent    bool          // the request's body is through; before done closed, upload's
}

// forward serves the plain request r, which lies in h.
func (c *session) forward(ctx context.Context, h *head, r request) bool {
	authority, path, ok := splitTarget(r.target)
	if !ok {
		return c.answer(400, false)
	}
	to, err := destination.Split(string(authority), 80)
	if err != nil {
		return c.answer(400, false)
	}
	c.flow.Destination = to
	if !c.Guard.Busy() {
		return false
	}
	h.out = appendRequest(h.out[:0], h, r, authority, path)
	e := &exchange{session: c, request: r, method: string(r.method)}
	answer := c.server.pools.head()
	defer c.server.pools.giveHead(answer)
	if status := e.send(ctx, h, answer); status != 0 {
		return c.failed(e, status)
	}
	return e.receive(answer)
}

// splitTarget takes an http URL apart. Credentials in it are refused: RFC 9110
// §4.2.4.
func splitTarget(target []byte) (authority, path []byte, ok bool) {
	const scheme = "http://"
	if len(target) < len(scheme) || !isName(target[:len(scheme)], scheme) {
		return nil, nil, false
	}
	authority = target[len(scheme):]
	if i := bytes.IndexAny(authority, "/?"); i >= 0 {
		authority, path = authority[:i], authority[i:]
	}
	return authority, path, len(authority) > 0 && bytes.IndexByte(authority, '@') < 0
}

// appendRequest appends the head that the server gets.
func appendRequest(b []byte, h *head, r request, authority, path []byte) []byte {
	b = append(append(b, r.method...), ' ')
	switch {
	case len(path) == 0 && string(r.method) == "OPTIONS":
		b = append(b, '*')
	case len(path) == 0 || path[0] == '?':
		b = append(b, '/')
	}
	b = append(append(b, path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, authority...), "\r\n"...)
	b = h.appendFields(b, r.body.kind == byChunks)
	if _, n := h.value("content-length"); n > 0 && r.body.kind == noBody {
		b = append(b, "Content-Length: 0\r\n"...) // a server may insist on it for POST
	}
	b = appendFraming(b, r.body)
	if r.upgrade != nil {
		b = append(append(b, "Connection: Upgrade\r\nUpgrade: "...), r.upgrade...)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// send sends the request in h.out, on the open upstream or a new one, and reads
// the head of the answer. A request without a body is sent again when an
// upstream turns out to have ended while nobody used it. The result is 0 or
// the status that says what went wrong.
func (e *exchange) send(ctx context.Context, h, answer *head) (status int) {
	c := e.session
	if c.up != nil && c.up.fits(&c.flow) {
		e.up = c.up
		_, err := e.up.near.Write(h.out)
		if err == nil {
			e.startUpload()
			err = answer.read(&e.up.in, false)
		}
		if err == nil {
			return 0
		}
		if !e.stopUpload() || !e.repeatable() || len(answer.buf) > 0 {
			return 502
		}
	}
	if c.up != nil {
		c.up.close()
	}
	c.up = c.open(ctx, bytes.Clone(h.out))
	e.up = c.up
	if err := <-e.up.dialed; err != nil {
		return statusOf(err)
	}
	e.startUpload()
	if answer.read(&e.up.in, false) != nil {
		return 502
	}
	return 0
}

// repeatable says whether a server may get the request twice: RFC 9110 §9.2.2.
func (e *exchange) repeatable() bool {
	switch e.method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return e.request.body.kind == noBody
	}
	return false
}

// failed answers for a server that did not.
func (c *session) failed(e *exchange, status int) bool {
	whole := e.stopUpload()
	e.up.close()
	c.up = nil
	keep := whole && e.request.keep && e.request.body.kind == noBody && e.method != "HEAD"
	return c.answer(status, keep)
}

// startUpload begins to send the request's body and then to watch the client.
func (e *exchange) startUpload() {
	e.quit, e.done, e.sent = make(chan struct{}), make(chan struct{}), false
	if e.request.body.kind != noBody {
		e.through = make(chan struct{})
	}
	go e.upload() // ended by stopUpload
}

// finishUpload lets the rest of the body go to a server that answered early.
func (e *exchange) finishUpload() {
	if e.through == nil {
		return
	}
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-e.through:
	case <-t.C:
	}
}

// stopUpload waits for upload to end and says whether the whole request is
// through and the client is there.
func (e *exchange) stopUpload() bool {
	if e.done == nil {
		return e.request.body.kind == noBody
	}
	close(e.quit)
	e.Conn.SetReadDeadline(time.Unix(1, 0))
	e.up.near.SetWriteDeadline(time.Unix(1, 0))
	<-e.done
	e.done = nil
	e.up.near.SetWriteDeadline(time.Time{})
	return e.Conn.SetReadDeadline(time.Time{}) == nil && e.sent
}

// upload sends the request's body. A client that breaks off, in the body or
// while it waits for the answer, ends the flow.
func (e *exchange) upload() {
	defer close(e.done)
	b := body{in: &e.in, out: e.up.near, from: e.request.body, chunks: e.request.body.kind == byChunks, strict: true, moved: func() {}}
	err := b.copy()
	if e.through != nil {
		close(e.through)
	}
	if err != nil {
		var broken readError
		if errors.As(err, &broken) && !e.over() {
			e.up.near.abort()
		}
		return
	}
	e.sent = true
	switch err = e.in.idle(); {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
	case err == io.EOF:
		e.sent = false
		e.halfClosed()
	default:
		e.sent = false
		e.up.near.abort()
	}
}

// over says whether the answer is over.
func (e *exchange) over() bool {
	select {
	case <-e.quit:
		return true
	default:
		return false
	}
}

// halfClosedTime is how long an answer may stand still after the client ended
// its side; chosen. It may be gone, and only a write would tell.
const halfClosedTime = 60 * time.Second

// halfClosed lets the answer come to a client that sends no more, as long as
// there is any.
func (e *exchange) halfClosed() {
	t := time.NewTicker(halfClosedTime)
	defer t.Stop()
	for last := e.moved.Load(); ; last = e.moved.Load() {
		select {
		case <-e.quit:
			return
		case <-t.C:
		}
		if e.moved.Load() == last {
			e.up.near.abort()
			return
		}
	}
}

// receive passes the answer on, whose first head is in h, and says whether the
// client may ask again.
func (e *exchange) receive(h *head) bool {
	r, err := h.parseResponse(e.method)
	for err == nil && r.status < 200 && r.status != 101 {
		if e.request.minor == 1 && e.writeHead(h, r, framing{}, true, nil) != nil {
			return e.broken()
		}
		if err = h.read(&e.up.in, false); err == nil {
			r, err = h.parseResponse(e.method)
		}
	}
	if err != nil || r.status == 101 && e.request.upgrade == nil {
		return e.session.failed(e, 502)
	}
	if r.status == 101 {
		e.switched(h, r)
		return false
	}
	to := r.body
	keep := e.request.keep
	switch {
	case to.kind != byClose && to.kind != byChunks:
	case e.request.minor == 1:
		to.kind = byChunks
	default:
		to.kind, keep = byClose, false
	}
	first := e.first(&r.body)
	if e.writeHead(h, r, to, keep, first) != nil {
		return e.broken()
	}
	e.up.in.discard(len(first))
	b := body{in: &e.up.in, out: e.Conn, from: r.body, chunks: to.kind == byChunks, moved: func() { e.moved.Add(1) }}
	if b.copy() != nil {
		return e.broken()
	}
	e.finishUpload()
	whole := e.stopUpload()
	if !r.keep || !whole {
		e.up.close()
		e.session.up = nil
	}
	if keep && whole {
		return true
	}
	e.linger()
	return false
}

// broken ends an exchange in the middle of its answer.
func (e *exchange) broken() bool {
	e.up.near.abort()
	e.stopUpload()
	e.up.close()
	e.session.up = nil
	return false
}

// first is what has come already of a body with a length, and takes it off f.
func (e *exchange) first(f *framing) []byte {
	if f.kind != byLength || e.up.in.buffered() == 0 {
		return nil
	}
	p, _ := e.up.in.next()
	p = p[:min(int64(len(p)), f.length)]
	f.length -= int64(len(p))
	return p
}

// writeHead sends the head of an answer and the first bytes of its body in one
// write.
func (e *exchange) writeHead(h *head, r response, to framing, keep bool, first []byte) error {
	b := strconv.AppendInt(append(h.out[:0], "HTTP/1.1 "...), int64(r.status), 10)
	b = append(append(append(b, ' '), r.reason...), "\r\n"...)
	b = h.appendFields(b, to.kind == byChunks)
	length, n := h.value("content-length")
	switch {
	case to.kind == noBody && n > 0 && r.status >= 200 && r.status != 204:
		b = append(append(append(b, "Content-Length: "...), length...), "\r\n"...)
	default:
		b = appendFraming(b, to)
	}
	switch {
	case !keep:
		b = append(b, "Connection: close\r\n"...)
	case e.request.minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	case r.status == 101:
		upgrade, _ := h.value("upgrade")
		b = append(append(append(b, "Connection: Upgrade\r\nUpgrade: "...), upgrade...), "\r\n"...)
	}
	h.out = append(append(b, "\r\n"...), first...)
	e.moved.Add(1)
	_, err := e.Conn.Write(h.out)
	return err
}

// switched is the exchange after 101: bytes both ways until both ends.
func (e *exchange) switched(h *head, r response) {
	e.stopUpload()
	if e.writeHead(h, r, framing{}, true, nil) != nil {
		return
	}
	up := make(chan struct{})
	go func() { // ends when the client's side does
		defer close(up)
		b := body{in: &e.in, out: e.up.near, from: framing{kind: byClose}, moved: func() {}}
		if b.copy() != nil {
			e.up.near.abort()
			return
		}
		e.up.near.CloseWrite()
	}()
	b := body{in: &e.up.in, out: e.Conn, from: framing{kind: byClose}, moved: func() {}}
	if b.copy() != nil || e.up.near.abandoned() || closeWrite(e.Conn) != nil {
		e.Conn.Close()
	}
	<-up
}

package rest

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"
)

// sink is a client that reads a stream of messages, each ending in a newline.
type sink interface {
	// send writes one message, within the time that a client has for it.
	send(b []byte) error
	// gone is closed when the client has left.
	gone() <-chan struct{}
	// close ends the stream and returns when its goroutines ended.
	close()
}

// openStream starts a stream in the form that the client asked for. A nil sink
// means that the answer is given already, or is err.
func (a *API) openStream(c echo.Context) (s sink, err error) {
	release, ok := a.trackStream()
	if !ok {
		return nil, fail(c, http.StatusServiceUnavailable, "too many streams")
	}
	if isUpgrade(c.Request()) {
		s = a.openWebSocket(c, release)
	} else {
		s = a.openLines(c, release)
	}
	if s == nil {
		release()
	}
	return s, nil
}

// pump sends messages until the client leaves or the API closes. first, when
// it is not nil, is sent in place of the first one.
func (a *API) pump(s sink, frames <-chan *frame, first []byte) {
	for {
		select {
		case fr := <-frames:
			b := fr.data
			if first != nil {
				b, first = first, nil
			}
			err := s.send(b)
			fr.release()
			if err != nil {
				return
			}
		case <-s.gone():
			return
		case <-a.ctx.Done():
			return
		}
	}
}

// streamFeed answers a request with the messages of a feed.
func (a *API) streamFeed(c echo.Context, f *feed, first []byte) error {
	s, err := a.openStream(c)
	if s == nil {
		return err
	}
	defer s.close()
	frames, leave := f.subscribe()
	defer leave()
	a.pump(s, frames, first)
	return nil
}

// lines is a chunked HTTP answer with a message per line.
type lines struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	done    <-chan struct{}
	limit   time.Duration
	release func()
}

// openLines sends the header at once, so that a client of a quiet stream knows
// that it is connected.
func (a *API) openLines(c echo.Context, release func()) sink {
	w := c.Response()
	l := &lines{w, http.NewResponseController(w), c.Request().Context().Done(), a.cfg.Limits.WriteStream, release}
	w.Header().Set("Content-Type", echo.MIMEApplicationJSON)
	w.WriteHeader(http.StatusOK)
	_ = l.rc.Flush()
	return l
}

func (l *lines) send(b []byte) error {
	_ = l.rc.SetWriteDeadline(time.Now().Add(l.limit))
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	return l.rc.Flush()
}

func (l *lines) gone() <-chan struct{} { return l.done }

func (l *lines) close() {
	// The last chunk, which the server writes, has a limit of its own.
	_ = l.rc.SetWriteDeadline(time.Now().Add(l.limit))
	l.release()
}

// socket is a WebSocket with a text frame per message.
type socket struct {
	conn    *websocket.Conn
	ctx     context.Context
	limit   time.Duration
	left    chan struct{}
	release func()
}

// openWebSocket upgrades the request, or refuses and returns nil.
func (a *API) openWebSocket(c echo.Context, release func()) sink {
	if !a.mayUpgrade(c) {
		return nil
	}
	// Origins are checked in mayUpgrade, with the list that CORS has.
	conn, err := websocket.Accept(c.Response(), c.Request(), &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil // Accept has answered
	}
	conn.SetReadLimit(a.cfg.Limits.ReadMessages)
	s := &socket{conn, a.ctx, a.cfg.Limits.WriteStream, make(chan struct{}), release}
	go s.read()
	return s
}

// mayUpgrade refuses a malformed upgrade request, and one of a page that CORS
// would not let read the answer.
func (a *API) mayUpgrade(c echo.Context) bool {
	r, w := c.Request(), c.Response()
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.ProtoMajor != 1 || !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade"):
		http.Error(w, "the Connection header lacks Upgrade", http.StatusBadRequest)
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "WebSocket version 13 is needed", http.StatusUpgradeRequired)
	case err != nil || len(key) != 16:
		http.Error(w, "Sec-WebSocket-Key is not 16 bytes in base64", http.StatusBadRequest)
	case !a.originMayStream(r):
		_ = fail(c, http.StatusForbidden, "origin not allowed")
	default:
		return true
	}
	return false
}

// originMayStream holds pages to the CORS list: a browser does not do that
// for WebSockets. A page that the controller served itself may.
func (a *API) originMayStream(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || a.cfg.CORS.allows(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// read takes what the client sends until the connection ends: pings and close
// frames are answered on the way, messages are thrown away.
func (s *socket) read() {
	defer close(s.left)
	for {
		_, r, err := s.conn.Reader(s.ctx)
		if err != nil {
			return
		}
		if _, err = io.Copy(io.Discard, r); err != nil {
			return
		}
	}
}

func (s *socket) send(b []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.limit)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, b)
}

func (s *socket) gone() <-chan struct{} { return s.left }

func (s *socket) close() {
	_ = s.conn.CloseNow()
	<-s.left
	s.release()
}

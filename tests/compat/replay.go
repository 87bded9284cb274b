package compat

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// The secret and home directory of the recorded kernel.
const (
	recordedSecret = "parity-secret"
	recordedHome   = "/home/kernel"
)

// Target is a controller to replay recordings against.
type Target struct {
	Addr   string // host:port
	Secret string // in place of the recorded one
	Home   string // in place of the recorded one; "" keeps it
	Depth  Depth
	// Provoke, when it is set, is called after a stream has opened: it makes
	// what the recording shows happen.
	Provoke func(Recording)
}

// Replay makes the recorded call and returns how the answer differs.
func (t Target) Replay(ctx context.Context, r Recording) []string {
	e := exceptions[r.Name]
	if e.Ignore {
		return nil
	}
	var found []string
	var err error
	if r.Response.Status == http.StatusSwitchingProtocols && e.Status == 0 {
		found, err = t.socket(ctx, r, e)
	} else {
		found, err = t.plain(ctx, r, e)
	}
	if err == nil && len(r.Then) > 0 && !e.Then {
		var more []string
		more, err = t.then(ctx, r)
		found = append(found, more...)
	}
	if err != nil {
		found = append(found, err.Error())
	}
	return found
}

// ours puts the target's secret and home in place of the recorded ones.
func (t Target) ours(s string) string {
	s = strings.ReplaceAll(s, recordedSecret, t.Secret)
	if t.Home != "" {
		s = strings.ReplaceAll(s, recordedHome, t.Home)
	}
	return s
}

// request writes the request by hand: the recorded path may be one that no
// client library sends.
func (t Target) request(r Recording) string {
	var b strings.Builder
	body := t.ours(r.requestBody())
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Request.Method, t.ours(r.Request.Path), t.Addr)
	for _, name := range slices.Sorted(maps.Keys(r.Request.Headers)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, t.ours(r.Request.Headers[name]))
	}
	if exceptions[r.Name].Secret {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", t.Secret)
	}
	if len(r.Request.Body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// open sends a recorded request and reads the answer's header. ctx bounds all
// that follows; the caller closes the connection.
func (t Target) open(ctx context.Context, r Recording) (net.Conn, *http.Response, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if _, err = io.WriteString(c, t.request(r)); err != nil {
		c.Close()
		return nil, nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: r.Request.Method})
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, resp, nil
}

func (t Target) plain(ctx context.Context, r Recording, e Exception) ([]string, error) {
	c, resp, err := t.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	status := r.Response.Status
	if e.Status != 0 {
		status = e.Status
	}
	if resp.StatusCode != status {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return []string{fmt.Sprintf("got status %d %q, want %d", resp.StatusCode, b, status)}, nil
	}
	if e.Status != 0 && e.Status != r.Response.Status {
		return nil, nil
	}
	found := diffHeaders(r.Response.Headers, resp.Header)
	if r.Response.Lines != nil {
		if t.Provoke != nil {
			t.Provoke(r)
		}
		line, err := bufio.NewReader(resp.Body).ReadBytes('\n')
		return append(found, diffJSON(r.Response.Lines[0].Data, line, Shape, e.Skip)...), err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return found, err
	}
	return append(found, t.diffBody(r, e, body)...), nil
}

// comparedHeaders are the headers that clients act on.
var comparedHeaders = []string{
	"Content-Type", "Location", "X-Content-Type-Options", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Headers", "Access-Control-Max-Age", "Access-Control-Allow-Private-Network",
}

func diffHeaders(want map[string]string, got http.Header) (found []string) {
	for _, name := range comparedHeaders {
		if got.Get(name) != want[name] {
			found = append(found, fmt.Sprintf("got %s %q, want %q", name, got.Get(name), want[name]))
		}
	}
	// The recordings keep one of several Vary lines, and the peer lists one
	// method of several.
	for _, name := range []string{"Vary", "Allow"} {
		if !strings.Contains(strings.Join(got.Values(name), ","), want[name]) {
			found = append(found, fmt.Sprintf("got %s %q, want %q in it", name, got.Values(name), want[name]))
		}
	}
	return found
}

func (t Target) diffBody(r Recording, e Exception, body []byte) []string {
	if r.isJSON() {
		return diffJSON([]byte(t.ours(string(r.Response.Body))), body, t.Depth, e.Skip)
	}
	want, kept := text(r.Response.Body)
	if kept && want != string(body) && !strings.HasPrefix(want, "<") {
		return []string{fmt.Sprintf("got body %q, want %q", body, want)}
	}
	return nil
}

// socket opens the recorded WebSocket and compares its first message.
func (t Target) socket(ctx context.Context, r Recording, e Exception) ([]string, error) {
	h := http.Header{}
	if auth := r.Request.Headers["Authorization"]; auth != "" {
		h.Set("Authorization", t.ours(auth))
	}
	u := "ws://" + t.Addr + strings.ReplaceAll(r.Request.Path, recordedSecret, url.QueryEscape(t.Secret))
	c, _, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		return nil, err
	}
	defer c.CloseNow()
	c.SetReadLimit(16 << 20)
	if t.Provoke != nil {
		t.Provoke(r)
	}
	if len(r.Response.Messages) == 0 {
		return nil, nil
	}
	typ, b, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	found := diffJSON(r.Response.Messages[0].Data, b, Shape, e.Skip)
	if typ != websocket.MessageText {
		found = append(found, "the message is not text")
	}
	return found, nil
}

// then compares what GET /configs shows after the call.
func (t Target) then(ctx context.Context, r Recording) ([]string, error) {
	var get Recording
	get.Request.Method, get.Request.Path = "GET", "/configs"
	get.Request.Headers = map[string]string{"Authorization": "Bearer " + recordedSecret}
	c, resp, err := t.open(ctx, get)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var settings map[string]json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&settings); err != nil {
		return nil, err
	}
	var found []string
	for what, want := range r.Then {
		key := strings.TrimPrefix(what, "GET /configs -> ")
		for _, d := range diffJSON(want, settings[key], Values, nil) {
			found = append(found, what+d)
		}
	}
	return found, nil
}

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/culvert-proxy/culvert/tests/harness"
)

const token = "a token/with=signs"

// startGuarded is an open kernel whose controller wants the token.
func startGuarded(t *testing.T) open {
	t.Helper()
	k := startOpen(t, "secret: "+token+"\nrules: [\"MATCH,DIRECT\"]\n")
	k.Secret = token
	return k
}

// follow runs curl -N on an endpoint until the test ends.
func follow(t *testing.T, k open, path string, args ...string) *harness.Process {
	t.Helper()
	args = append(args, "-N", "-H", "Authorization: Bearer "+token, k.API+path)
	return harness.RunCmd(t, curlCmd(t, context.Background(), args...))
}

// lines waits until p has printed n lines of JSON and decodes them.
func lines[T any](t *testing.T, p *harness.Process, n int) (out []T) {
	t.Helper()
	p.Until(fmt.Sprintf("want %d lines", n), func() error {
		if got := strings.Count(p.Output(), "\n"); got < n {
			return fmt.Errorf("%d lines", got)
		}
		return nil
	})
	for s := bufio.NewScanner(strings.NewReader(p.Output())); len(out) < n && s.Scan(); {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		out = append(out, v)
	}
	return out
}

type traffic struct{ Up, Down, UpTotal, DownTotal *int64 }

type memory struct{ Inuse, Oslimit *int64 }

func TestCurlFollowsTheStreams(t *testing.T) {
	t.Parallel()
	k := startGuarded(t)
	o := newOrigin(t, "127.0.0.1")
	const size = 4 << 20

	all := follow(t, k, "/traffic")
	mem := follow(t, k, "/memory")
	quiet := follow(t, k, "/logs?level=error", "-v")
	info := follow(t, k, "/logs", "-v")
	structured := follow(t, k, "/logs?level=debug&format=structured", "-v")
	for _, p := range []*harness.Process{quiet, info, structured} {
		p.Until("the head comes late", func() error {
			if !strings.Contains(p.Output(), "< HTTP/1.1 200 ") {
				return fmt.Errorf("output %q", p.Output())
			}
			return nil
		})
	}
	r := curl(t, "-x", at("socks5h", k.mixed), "-o", os.DevNull, o.url("origin.test", fmt.Sprintf("/bytes?n=%d", size)))
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}

	seen := lines[traffic](t, all, 3)
	for _, l := range seen {
		if l.Up == nil || l.Down == nil || l.UpTotal == nil || l.DownTotal == nil {
			t.Fatalf("a line of /traffic lacks a key: %s", all.Output())
		}
	}
	if total := *seen[2].DownTotal; total < size {
		t.Errorf("got %d bytes in all, want at least %d", total, size)
	}
	m := lines[memory](t, mem, 2)
	if m[0].Inuse == nil || *m[0].Inuse != 0 || *m[1].Inuse < 1<<20 || m[1].Oslimit == nil {
		t.Errorf("got %s", mem.Output())
	}
	want := fmt.Sprintf(" --> origin.test:%d match Match using DIRECT", o.port)
	for name, p := range map[string]*harness.Process{"standard": info, "structured": structured} {
		p.Until("no line for the flow", func() error {
			if level, text := lastLine(p.Output()); level != "info" || !strings.HasPrefix(text, "[TCP] 127.0.0.1:") || !strings.HasSuffix(text, want) {
				return fmt.Errorf("%s: got %s %q", name, level, text)
			}
			return nil
		})
	}
	if strings.Contains(quiet.Output(), "[TCP]") {
		t.Errorf("a subscriber to errors got %s", quiet.Output())
	}
}

// lastLine is the newest line of /logs in what curl -v printed, in either
// format.
func lastLine(out string) (level, text string) {
	var l struct{ Type, Payload, Level, Message string }
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, `{"`) {
			json.Unmarshal([]byte(line), &l)
		}
	}
	return l.Type + l.Level, l.Payload + l.Message
}

// webSocket dials a streaming endpoint.
func webSocket(t *testing.T, k open, path string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, strings.Replace(k.API, "http", "ws", 1)+path, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, resp, err
}

// next reads one message.
func next(t *testing.T, c *websocket.Conn, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	kind, data, err := c.Read(ctx)
	if err != nil || kind != websocket.MessageText {
		t.Fatalf("got %v %q, %v", kind, data, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}

func TestWebSocketsFollowTheStreams(t *testing.T) {
	t.Parallel()
	k := startGuarded(t)
	o := newOrigin(t, "127.0.0.1")
	holding(t, k.Culvert, o, "origin.test", "-x", at("socks5h", k.mixed))
	query := "?token=" + strings.NewReplacer(" ", "%20", "/", "%2F", "=", "%3D").Replace(token)

	for _, path := range []string{"/connections", "/traffic", "/memory", "/logs"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			for _, how := range []string{"", "?token=wrong"} {
				if _, resp, err := webSocket(t, k, path+how, nil); err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("%q: got %v, want 401", how, err)
				}
			}
			c, _, err := webSocket(t, k, path+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c2, _, err := webSocket(t, k, path, http.Header{"Authorization": {"Bearer " + token}}); err != nil {
				t.Errorf("with a header: %v", err)
			} else {
				c2.CloseNow()
			}
			readStream(t, k, path, c)
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("no answer to close: %v", err)
			}
		})
	}
}

// readStream reads what a stream must say with one flow open.
func readStream(t *testing.T, k open, path string, c *websocket.Conn) {
	t.Helper()
	switch path {
	case "/connections":
		var all struct {
			DownloadTotal *int64
			Connections   []connection
		}
		for range 2 {
			next(t, c, &all)
			if all.DownloadTotal == nil || len(all.Connections) == 0 || all.Connections[0].Metadata.Host != "origin.test" {
				t.Errorf("got %+v", all)
			}
		}
	case "/traffic":
		var l traffic
		if next(t, c, &l); l.Up == nil || l.DownTotal == nil {
			t.Errorf("got %+v", l)
		}
	case "/memory":
		var l memory
		if next(t, c, &l); l.Inuse == nil || *l.Inuse != 0 {
			t.Errorf("got %+v", l)
		}
	case "/logs":
		gone := newOrigin(t, "127.0.0.1")
		fetch(t, gone.url("origin.test", "/echo"), "-x", at("socks5h", k.mixed))
		var l struct{ Type, Payload string }
		if next(t, c, &l); l.Type != "info" || !strings.HasPrefix(l.Payload, "[TCP] ") {
			t.Errorf("got %+v", l)
		}
	}
}

func TestDeletedConnectionsEnd(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	o1, o2 := newOrigin(t, "127.0.0.1"), newOrigin(t, "127.0.0.1")
	for _, x := range [][]string{{"-x", at("socks5h", k.mixed)}, {"-x", at("http", k.http)}, {"-p", "-x", at("http", k.http)}} {
		curl1, f := holding(t, k.Culvert, o1, "origin.test", x...)
		curl2, _ := holding(t, k.Culvert, o2, "origin.test", x...)

		if status, body := k.Call(t, http.MethodDelete, "/connections/"+f.ID, nil); status != http.StatusNoContent {
			t.Fatalf("got %d %s", status, body)
		}
		if code := curl1.Wait(); code != 18 && code != 56 { // the answer broke off
			t.Errorf("%q: curl ended with %d", x, code)
		}
		noFlow(t, k.Culvert, o1.port)
		if curl2.Ended() {
			t.Fatalf("%q: another flow ended, too", x)
		}
		if status, body := k.Call(t, http.MethodDelete, "/connections", nil); status != http.StatusNoContent {
			t.Fatalf("got %d %s", status, body)
		}
		curl2.Wait()
		noFlow(t, k.Culvert, o2.port)
	}
	if status, _ := k.Call(t, http.MethodDelete, "/connections/unknown", nil); status != http.StatusNoContent {
		t.Errorf("unknown id: got %d, want 204", status)
	}
}

package rest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/culvert-proxy/culvert/api/rest"
)

// hostileBodies are no good request.
var hostileBodies = []string{
	"", "{", "}", "[", "null", "[]", "0", `"x"`, "tru", `{"name":`, `{"name":{}}`, `{"name":[1]}`, `{"name":null}`, `{"payload":5}`, `{"path":"` + strings.Repeat("../", 400) + `etc/passwd"}`,
	`{"path":"\u0000"}`, `{"0":"x"}`, `{"-9223372036854775809":true}`, strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 20000), strings.Repeat("x", 1<<16),
	"\x00\xff\xfe", `{"mode":"rule","mode":"nope"}`, `{"port":1e400}`, `{"port":99999999999999999999}`, `{"tun":[]}`, `{"lan-allowed-ips":{"a":1}}`, "\ufeff{}",
}

func TestHostileRequestsGetAnAnswerAndNoPanic(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, f *fake) {
		c.UI = t.TempDir()
		f.delay = func(context.Context, string, string) (uint16, error) { return 1, nil }
	})
	paths := []string{"/configs", "/configs?force=%00", "/proxies/Proxy", "/rules/disable", "/storage/x", "/storage/%00", "/configs/geo", "/upgrade", "/connections/%ff%fe",
		"/proxies/" + strings.Repeat("a%2F", 2000), "/group/%C0%80/delay?timeout=1&url=%00", "/providers/proxies/..%2f..%2fetc/healthcheck", "/ui/%00", "/ui/..%2f..%2fetc%2fpasswd",
		"/ui/" + strings.Repeat("../", 50) + "etc/passwd", "/ui/%5c..%5c..", "/ui/" + strings.Repeat("x", 5000), "/dns/query?type=%00", "/logs?level=%00", "/traffic?unit=%zz", "/;/", "/?;&=%"}
	rng := rand.New(rand.NewPCG(1, 2))
	statuses := map[int]int{}
	for i := range 400 {
		method := []string{"GET", "PUT", "PATCH", "POST", "DELETE", "TRACE", "LOCK"}[rng.IntN(7)]
		path, body := paths[rng.IntN(len(paths))], hostileBodies[rng.IntN(len(hostileBodies))]
		if strings.HasPrefix(path, "/traffic") || strings.HasPrefix(path, "/logs") {
			method = "POST" // a GET would stream
		}
		got := s.do(method, path, body)

		statuses[got.status]++
		if got.status >= 500 && got.status != 501 && !strings.Contains(got.body, "DNS section") && !strings.HasPrefix(path, "/upgrade") {
			t.Errorf("request %d: %s %s: got %d %q", i, method, clip(path), got.status, clip(got.body))
		}
	}
	if len(statuses) < 4 {
		t.Errorf("got statuses %v, want a mix", statuses)
	}
}

func TestBrokenRequestLinesGetABadRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, head := range []string{
		"GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
	} {
		got := s.raw(head)

		if !strings.HasPrefix(got, "HTTP/1.") || !strings.Contains(got[:min(len(got), 14)], " 4") && !strings.Contains(got[:min(len(got), 14)], " 50") {
			t.Errorf("%q: got %q, want a refusal", clip(head), clip(got))
		}
	}
}

func TestBodiesAreLimited(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Limits.Body, c.Limits.Document = 1000, 5000 })
	big := func(n int) string { return `{"payload":"` + strings.Repeat("x", n) + `"}` }
	const large = `{"message":"request body too large"}` + "\n"

	s.do("PUT", "/configs", big(4000)).want(t, "a document", 204, "")
	s.do("PUT", "/configs", big(6000)).want(t, "too large a document", 413, large)
	s.do("PATCH", "/configs", big(500)).want(t, "a patch", 204, "")
	s.do("PATCH", "/configs", big(2000)).want(t, "too large a patch", 413, large)
	s.do("PUT", "/proxies/Proxy", big(2000)).want(t, "too large a selection", 413, large)
	s.do("PATCH", "/rules/disable", big(2000)).want(t, "too large a list", 413, large)
	s.do("PUT", "/storage/x", strings.Repeat("1", 3<<20)).want(t, "too large a value", 413, "*")
	s.send("PUT", "/configs", iotest.OneByteReader(strings.NewReader(big(6000))), "Authorization", "Bearer "+secret).want(t, "chunked", 413, large)
}

func TestSlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Limits.ReadBody = 50 * time.Millisecond })

	got := s.raw("PATCH /configs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret + "\r\nContent-Length: 100\r\n\r\n{")

	if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "Body invalid") {
		t.Errorf("got %q, want a 400", got)
	}
	if got := s.raw("PATCH /configs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("without the secret: got %q, want 401 and a close", got)
	}
}

func TestUserInterfaceIsServedFromItsFolderOnly(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	dir := filepath.Join(outside, "ui")
	for name, text := range map[string]string{"index.html": "<!doctype html>ui", "a.txt": "ui-file\n", "sub/b.txt": "b", "../secret.txt": "hidden"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.txt", filepath.Join(dir, "link.txt")); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.UI = dir })

	s.send("GET", "/ui", nil).want(t, "without a slash", http.StatusTemporaryRedirect, "*")
	s.send("GET", "/ui/", nil).want(t, "index", 200, "<!doctype html>ui")
	s.send("GET", "/ui/a.txt", nil).want(t, "file", 200, "ui-file\n")
	s.send("GET", "/ui/sub/", nil).want(t, "list", 200, "*")
	s.send("GET", "/ui/none.txt", nil).want(t, "missing", 404, noRoute)
	s.send("GET", "/ui/sub/b.txt", nil).want(t, "file below", 200, "b")
	s.send("POST", "/ui/a.txt", nil).want(t, "wrong method", 405, "")
	if got := s.send("GET", "/ui/index.html", nil); got.status != 301 || got.header.Get("Location") != "./" {
		t.Errorf("index.html: got %d to %q, want 301 to ./", got.status, got.header.Get("Location"))
	}
	for _, path := range []string{"/ui/../secret.txt", "/ui/..%2fsecret.txt", "/ui/%2e%2e/secret.txt", "/ui/sub/../../secret.txt", "/ui/link.txt", "/ui/..%5csecret.txt", "/ui/%2fetc%2fpasswd", "/ui//etc/passwd"} {
		got := s.raw(fmt.Sprintf("GET %s HTTP/1.0\r\n\r\n", path))
		if strings.Contains(got, "hidden") || strings.Contains(got, "root:") || strings.Contains(got, " 200 OK") {
			t.Errorf("%s: got %q", path, clip(got))
		}
	}
}

func TestDebugIsServedAtLevelDebug(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Debug = true })

	s.send("PUT", "/debug/gc", nil).want(t, "gc", 200, "")
	s.send("GET", "/debug/pprof/heap?raw=true", nil).want(t, "heap", 200, "*")
	s.send("GET", "/debug/pprof/", nil).want(t, "list", 200, "*")
	s.send("GET", "/debug/vars", nil).want(t, "variables", 200, "*")
	if got := s.send("GET", "/debug", nil); got.status != 301 || got.header.Get("Location") != "/debug/pprof/" {
		t.Errorf("got %d to %q", got.status, got.header.Get("Location"))
	}
}

package rest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/api/rest"
)

func TestAnswersHaveTheRecordedStatusAndText(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ *rest.Config, _ *rest.Kernel, f *fake) {
		f.delay = func(_ context.Context, name, url string) (uint16, error) {
			if url == "" {
				return 0, errBoom
			}
			return 40, nil
		}
	})
	for _, c := range answers {
		got := s.do(c.method, c.path, c.body)

		got.want(t, c.method+" "+clip(c.path)+" "+clip(c.body), c.status, c.want)
		wantType := "application/json"
		switch {
		case got.status == 204:
			wantType = ""
		case c.want == noRoute:
			wantType = "text/plain; charset=utf-8"
		}
		if ct := got.header.Get("Content-Type"); ct != wantType {
			t.Errorf("%s %s: got Content-Type %q, want %q", c.method, c.path, ct, wantType)
		}
	}
}

func TestWrongMethodIsEmptyAndListsTheRightOnes(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, c := range []struct{ method, path, allow string }{
		{"DELETE", "/configs", "GET PATCH PUT"},
		{"OPTIONS", "/configs", "GET PATCH PUT"},
		{"POST", "/version", "GET"},
		{"HEAD", "/version", "GET"},
		{"HEAD", "/proxies", "GET"},
		{"BREW", "/version", "GET"},
		{"POST", "/connections", "DELETE GET"},
		{"GET", "/providers/rules/r", "PUT"},
		{"POST", "/proxies/Proxy", "DELETE GET PUT"},
		{"GET", "/rules/disable", "PATCH"},
	} {
		got := s.do(c.method, c.path, "")

		got.want(t, c.method+" "+c.path, http.StatusMethodNotAllowed, "")
		allow := strings.Split(got.header.Get("Allow"), ", ")
		for _, m := range strings.Fields(c.allow) {
			if !strings.Contains(got.header.Get("Allow"), m) {
				t.Errorf("%s %s: got Allow %q, want %q in it", c.method, c.path, got.header.Get("Allow"), m)
			}
		}
		if n := len(strings.Fields(c.allow)); len(allow) != n {
			t.Errorf("%s %s: got Allow %q, want %d methods", c.method, c.path, allow, n)
		}
		if ct := got.header.Get("Content-Type"); ct != "" {
			t.Errorf("%s %s: got Content-Type %q, want none", c.method, c.path, ct)
		}
	}
}

func TestTrailingSlashOfACollectionIsTheSameRoute(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, path := range []string{"/configs", "/proxies", "/proxies/node", "/group", "/group/Proxy", "/rules", "/connections",
		"/providers/proxies", "/providers/proxies/default", "/providers/rules"} {
		without, with := s.do("GET", path, ""), s.do("GET", path+"/", "")

		if without.status != 200 || with.status != 200 {
			t.Errorf("%s: got %d and with a slash %d, want 200 both", path, without.status, with.status)
		}
	}
}

func TestNamesMayHaveAnyCharacter(t *testing.T) {
	t.Parallel()
	names := []string{"a/b", "/", "100%", "100%zz", "50%25", "a b", "a+b", "节点 %/1", "emoji 🇨🇭", "?x=1", "#frag", "..", ".", "a;b", "a&b=c", "'\"<>",
		"\\", "delay", "healthcheck", "new\nline", "nul\x00byte", strings.Repeat("长", 3000), ":name", "*", "%2F"}
	s := serve(t, func(_ *rest.Config, _ *rest.Kernel, f *fake) {
		for _, n := range names {
			f.addGroup(n, "Selector", "node", n)
		}
	})
	for _, name := range names {
		what := "name " + clip(fmt.Sprintf("%q", name))
		path := "/proxies/" + escapeAll(name)

		s.do("GET", path, "").want(t, what, 200, "*")
		s.do("GET", "/group/"+escapeAll(name), "").want(t, what+" as a group", 200, "*")
		s.do("PUT", path, `{"name":"node"}`).want(t, what+" selected", 204, "")
		s.do("GET", "/providers/proxies/"+escapeAll(name)+"/node", "").want(t, what+" as a provider", 200, "*")

		s.fake.mu.Lock()
		if s.fake.selected[name] != "node" {
			t.Errorf("%s: the selection went elsewhere", what)
		}
		s.fake.mu.Unlock()
	}
}

// escapeAll escapes each byte, so that no character has a special part.
func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func TestNameEscapedTwiceIsFound(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ *rest.Config, _ *rest.Kernel, f *fake) { f.add("节点 %/1", "Socks5") })
	once := url.PathEscape("节点 %/1")

	s.do("GET", "/proxies/"+once, "").want(t, "once", 200, "*")
	s.do("GET", "/proxies/"+url.PathEscape(once), "").want(t, "twice", 200, "*")
	s.do("GET", "/proxies/100%25zz", "").want(t, "an escape that is none", 404, unknown)
}

func TestQueryTokenWithPlusIsASpace(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Secret = "a b" })

	s.send("GET", "/logs?level=zzz&token=a+b", nil, "Upgrade", "websocket").want(t, "token", 400, bad)
}

func TestReloadGetsWhatTheClientSent(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.do("PUT", "/configs?force=true", `{"path":"/etc/passwd","payload":"mode: direct"}`).want(t, "payload wins over path", 204, "")
	s.do("PUT", "/configs?force=TRUE", `{"path":"/home/kernel/x.yaml"}`).want(t, "path", 204, "")
	s.fake.setFail(errBoom)
	s.do("PUT", "/configs", `{}`).want(t, "error", 400, message("boom"))

	want := []rest.ReloadRequest{{Payload: "mode: direct", Force: true}, {Path: "/home/kernel/x.yaml"}, {}}
	if got := s.fake.reloads; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPatchSpellsWordsAsSettingsDo(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)

	s.do("PATCH", "/configs", `{"mode":"Global","log-level":"WARNING","unified-delay":true,"tun":{"enable":true,"stack":"GVISOR"}}`).want(t, "patch", 204, "")

	p := s.fake.patches[0]
	if *p.Mode != "global" || *p.LogLevel != "warning" || !*p.UnifiedDelay || *p.Tun.Stack != "gVisor" || p.Port != nil {
		t.Errorf("got %+v", p)
	}
}

func TestGroupDelayClearsThePinEvenWhenRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)

	s.do("GET", "/group/auto/delay?timeout=x", "").want(t, "bad timeout", 400, bad)
	s.do("GET", "/group/Proxy/delay?timeout=x", "").want(t, "a select group", 400, bad)

	if got := fmt.Sprint(s.fake.unfixed); got != "[auto]" {
		t.Errorf("got %s unfixed, want [auto]", got)
	}
}

func TestDelayOfAProxyOutlivesItsClient(t *testing.T) {
	t.Parallel()
	started, finished := make(chan struct{}), make(chan error, 1)
	s := serve(t, func(_ *rest.Config, _ *rest.Kernel, f *fake) {
		f.delay = func(ctx context.Context, _, _ string) (uint16, error) {
			close(started)
			<-ctx.Done()
			finished <- context.Cause(ctx)
			return 0, ctx.Err()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/proxies/node/delay?timeout=150&url=http://t.test/", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	go func() { // ends with the request
		<-started
		cancel()
	}()

	_, err := s.Client().Do(req)

	if err == nil {
		t.Error("the request was not cancelled")
	}
	select {
	case cause := <-finished:
		if cause != context.DeadlineExceeded {
			t.Errorf("the test ended with %v, want its own deadline", cause)
		}
	case <-time.After(waitLimit):
		t.Error("the test did not end")
	}
}

func TestStorageGivesBackTheBytes(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const value = `{ "a":"1",  "b":[] }`

	s.do("PUT", "/storage/za%2Fsh%20x", value).want(t, "put", 204, "")
	s.do("GET", "/storage/za%2Fsh%20x", "").want(t, "get", 200, value)
	s.do("DELETE", "/storage/za%2Fsh%20x", "").want(t, "delete", 204, "")
	s.do("GET", "/storage/za%2Fsh%20x", "").want(t, "gone", 200, "null")
	s.fake.setFail(errBoom)
	s.do("PUT", "/storage/x", "1").want(t, "broken store", 500, message("boom"))
}

func TestKernelErrorsAreShown(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.fake.setFail(errBoom)

	s.do("PATCH", "/configs", "{}").want(t, "patch", 500, message("boom"))
	s.do("PUT", "/proxies/Proxy", `{"name":"node"}`).want(t, "select", 500, message("boom"))
	s.do("DELETE", "/proxies/auto", "").want(t, "unfix", 500, message("boom"))
}

func TestPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ *rest.Config, _ *rest.Kernel, f *fake) {
		f.delay = func(context.Context, string, string) (uint16, error) { panic("at the disco") }
	})
	lines, leave := s.fake.logs.Subscribe(0)
	defer leave()

	s.do("GET", "/proxies/node/delay"+delayURL, "").want(t, "panic", 500, message("internal error"))
	s.do("GET", "/version", "").want(t, "afterwards", 200, "*")
	if l := <-lines; !strings.Contains(l.Message, "at the disco") {
		t.Errorf("got log line %q, want the panic in it", l.Message)
	}
}

func TestContentTypeOfARequestIsIgnored(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, ct := range []string{"text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/json", "", "nonsense"} {
		got := s.send("PUT", "/proxies/Proxy", io.NopCloser(strings.NewReader(`{"name":"node"}`)), "Authorization", "Bearer "+secret, "Content-Type", ct)

		got.want(t, ct, 204, "")
	}
}

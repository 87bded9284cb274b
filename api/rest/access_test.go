package rest_test

import (
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/api/rest"
)

const unauthorized = `{"message":"Unauthorized"}` + "\n"

func TestSecretIsAskedForAsRecorded(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.UI, c.Debug = t.TempDir(), true })
	const right = "Bearer " + secret
	for _, c := range []struct {
		name, path, auth, upgrade string
		status                    int
		body                      string
	}{
		{"missing", "/version", "", "", 401, unauthorized},
		{"wrong", "/version", "Bearer nope", "", 401, unauthorized},
		{"right", "/version", right, "", 200, "*"},
		{"scheme in lower case", "/version", "bearer " + secret, "", 401, unauthorized},
		{"bare", "/version", secret, "", 401, unauthorized},
		{"scheme alone", "/version", "Bearer", "", 401, unauthorized},
		{"two spaces", "/version", "Bearer  " + secret, "", 401, unauthorized},
		{"prefix of the secret", "/version", right[:len(right)-1], "", 401, unauthorized},
		{"more than the secret", "/version", right + "x", "", 401, unauthorized},
		{"token on a plain request", "/version?token=" + secret, "", "", 401, unauthorized},
		{"wrong token beats the right header", "/logs?level=zzz&token=bad", right, "websocket", 401, unauthorized},
		{"right token beats a wrong header", "/logs?level=zzz&token=" + secret, "Bearer bad", "websocket", 400, bad},
		{"empty token leaves the header", "/logs?level=zzz&token=", right, "websocket", 400, bad},
		{"upgrade in another case", "/logs?level=zzz&token=" + secret, "", "WebSocket", 400, bad},
		{"upgrade to another protocol", "/logs?level=zzz&token=" + secret, "", "h2c", 401, unauthorized},
		{"unknown path", "/nothing-here", "", "", 404, noRoute},
		{"unknown path in a known subtree", "/configs/none", "", "", 401, unauthorized},
		{"unknown name", "/proxies/none", "", "", 401, unauthorized},
		{"a slash more", "/version/", "", "", 404, noRoute},
		{"double slash", "//version", "", "", 404, noRoute},
		{"escaped letter", "/%76ersion", "", "", 404, noRoute},
		{"escaped slash", "/proxies%2Fnode", "", "", 404, noRoute},
		{"other case", "/Version", "", "", 404, noRoute},
		{"hello", "/", "", "", 401, unauthorized},
		{"user interface", "/ui/", "", "", 200, "*"},
		{"profiles", "/debug/pprof/cmdline", "", "", 200, "*"},
	} {
		got := s.send("GET", c.path, nil, "Authorization", c.auth, "Upgrade", c.upgrade)

		got.want(t, c.name, c.status, c.body)
	}
}

func TestEveryRouteAsksForTheSecret(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, path := range strings.Fields(`/ /version /logs /traffic /memory /configs /configs/ /configs/geo /proxies /proxies/ /proxies/node /proxies/node/delay
		/group /group/Proxy /group/Proxy/delay /providers/proxies /providers/proxies/default /providers/proxies/default/healthcheck /providers/proxies/default/node
		/providers/proxies/default/node/healthcheck /providers/rules /providers/rules/r /rules /rules/disable /connections /connections/x /dns/query
		/cache/fakeip/flush /cache/dns/flush /storage/k /restart /upgrade /upgrade/ui /upgrade/geo`) {
		for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"} {
			s.send(method, path, nil).want(t, method+" "+path, 401, unauthorized)
		}
	}
}

func TestWithoutASecretAnyCredentialPasses(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) { c.Secret = "" })

	s.send("GET", "/version", nil).want(t, "none", 200, "*")
	s.send("GET", "/version", nil, "Authorization", "Bearer ").want(t, "empty bearer", 200, "*")
	s.send("GET", "/version?token=undefined", nil, "Authorization", "x").want(t, "nonsense", 200, "*")
	s.send("GET", "/logs?level=zzz&token=undefined", nil, "Upgrade", "websocket").want(t, "token", 400, bad)
}

func TestOpenHandlerAsksForNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.Config.Handler = s.api.OpenHandler()

	s.send("GET", "/version", nil, "Authorization", "Bearer wrong").want(t, "unix", 200, "*")
}

func TestPreflightIsAnsweredAsRecorded(t *testing.T) {
	t.Parallel()
	list := rest.CORS{AllowOrigins: []string{"https://Board.example", "https://*.zone.example"}}
	all := rest.CORS{AllowPrivateNetwork: true}
	const board = "https://board.example"
	for _, c := range []struct {
		name                          string
		cors                          rest.CORS
		origin, method, headers, priv string
		allowOrigin, allowHeaders     string
		allowPriv                     string
	}{
		{"post", all, board, "POST", "authorization,content-type", "", "*", "Authorization, Content-Type", ""},
		{"no headers", all, board, "GET", "", "", "*", "", ""},
		{"private network", all, board, "GET", "authorization", "true", "*", "Authorization", "true"},
		{"head", all, board, "HEAD", "authorization", "", "", "", ""},
		{"trace", all, board, "TRACE", "", "", "", "", ""},
		{"another header", all, board, "GET", "x-other", "", "", "", ""},
		{"one header of two", all, board, "GET", "authorization, x-other", "", "", "", ""},
		{"listed", list, board, "PUT", "authorization", "true", board, "Authorization", ""},
		{"listed with a star", list, "https://a.zone.example", "PUT", "", "", "https://a.zone.example", "", ""},
		{"refused", list, "https://evil.example", "PUT", "authorization", "", "", "", ""},
		{"refused: the star needs its dot", list, "https://zone.example", "PUT", "", "", "", "", ""},
		{"no origin", all, "", "GET", "", "", "", "", ""},
		{"an explicit star", rest.CORS{AllowOrigins: []string{"https://x.example", "*"}}, board, "GET", "", "", "*", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(cfg *rest.Config, _ *rest.Kernel, _ *fake) { cfg.CORS = c.cors })
			for _, path := range []string{"/configs", "/nothing", "/proxies/x"} {
				got := s.send("OPTIONS", path, nil, "Origin", c.origin, "Access-Control-Request-Method", c.method,
					"Access-Control-Request-Headers", c.headers, "Access-Control-Request-Private-Network", c.priv)

				got.want(t, path, 200, "")
				methods, age := c.method, "300"
				if c.allowOrigin == "" {
					methods, age = "", ""
				}
				for name, want := range map[string]string{
					"Access-Control-Allow-Origin": c.allowOrigin, "Access-Control-Allow-Headers": c.allowHeaders, "Access-Control-Allow-Methods": methods,
					"Access-Control-Max-Age": age, "Access-Control-Allow-Private-Network": c.allowPriv, "Access-Control-Allow-Credentials": "", "Content-Length": "0",
				} {
					if have := got.header.Get(name); have != want {
						t.Errorf("%s: got %s %q, want %q", path, name, have, want)
					}
				}
				if vary := strings.Join(got.header.Values("Vary"), "|"); vary != "Origin|Access-Control-Request-Method|Access-Control-Request-Headers" {
					t.Errorf("%s: got Vary %q", path, vary)
				}
			}
		})
	}
}

func TestEveryAnswerSaysWhoMayReadIt(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *rest.Config, _ *rest.Kernel, _ *fake) {
		c.CORS.AllowOrigins = []string{"https://board.example"}
	})
	for _, c := range []struct {
		method, path, origin, auth string
		status                     int
		allow                      string
	}{
		{"GET", "/version", "https://board.example", "Bearer " + secret, 200, "https://board.example"},
		{"GET", "/version", "HTTPS://BOARD.EXAMPLE", "Bearer " + secret, 200, "HTTPS://BOARD.EXAMPLE"},
		{"GET", "/version", "https://board.example", "", 401, "https://board.example"},
		{"GET", "/nothing", "https://board.example", "", 404, "https://board.example"},
		{"POST", "/version", "https://board.example", "Bearer " + secret, 405, "https://board.example"},
		{"OPTIONS", "/configs", "https://board.example", "", 401, "https://board.example"},
		{"GET", "/version", "https://evil.example", "Bearer " + secret, 200, ""},
		{"GET", "/version", "null", "Bearer " + secret, 200, ""},
	} {
		got := s.send(c.method, c.path, nil, "Origin", c.origin, "Authorization", c.auth)

		got.want(t, c.method+" "+c.path, c.status, "*")
		if allow := got.header.Get("Access-Control-Allow-Origin"); allow != c.allow {
			t.Errorf("%s %s from %s: got %q, want %q", c.method, c.path, c.origin, allow, c.allow)
		}
		if got.header.Get("Vary") != "Origin" {
			t.Errorf("%s %s: got Vary %q, want Origin", c.method, c.path, got.header.Values("Vary"))
		}
	}
}

func TestInvalidEscapeNeverReachesARoute(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)

	got := s.raw("GET /proxies/100%zz HTTP/1.1\r\nHost: x\r\n\r\n")

	if !strings.HasPrefix(got, "HTTP/1.1 400 Bad Request\r\n") || !strings.Contains(got, "\r\n\r\n400 Bad Request") {
		t.Errorf("got %q", got)
	}
}

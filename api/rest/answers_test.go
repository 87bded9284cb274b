package rest_test

import "strings"

const (
	bad      = `{"message":"Body invalid"}` + "\n"
	unknown  = `{"message":"Resource not found"}` + "\n"
	noRoute  = "404 page not found\n"
	delayURL = "?timeout=5000&url=http%3A%2F%2Ft.test%2F"
)

// answers are requests with the secret and what they get; "*" is any body.
var answers = []struct {
	method, path, body string
	status             int
	want               string
}{
	{"GET", "/", "", 200, `{"hello":"culvert"}` + "\n"},
	{"GET", "/version", "", 200, `{"meta":true,"version":"v1.0.0"}` + "\n"},

	{"PATCH", "/configs", `{"mode":"GLOBAL"}`, 204, ""},
	{"PATCH", "/configs", `{"socket-port":1,"nonsense":[]}`, 204, ""},
	{"PATCH", "/configs", `null`, 204, ""},
	{"PATCH", "/configs", `{"port":null}`, 204, ""},
	{"PATCH", "/configs/", `{}`, 204, ""},
	{"PATCH", "/configs", `{"mode":"nope"}`, 400, bad},
	{"PATCH", "/configs", `{"mode":3}`, 400, bad},
	{"PATCH", "/configs", `{"port":"7890"}`, 400, bad},
	{"PATCH", "/configs", `{"port":1.5}`, 400, bad},
	{"PATCH", "/configs", `{"log-level":"loud"}`, 400, bad},
	{"PATCH", "/configs", `{"lan-allowed-ips":["1.2.3.4"]}`, 400, bad},
	{"PATCH", "/configs", `{"lan-allowed-ips":[""]}`, 400, bad},
	{"PATCH", "/configs", `{"skip-auth-prefixes":["::/0","10.0.0.0/8"]}`, 204, ""},
	{"PATCH", "/configs", `{"tun":{"enable":true,"stack":"mixed"}}`, 204, ""},
	{"PATCH", "/configs", `{"tun":{"stack":"none"}}`, 400, bad},
	{"PATCH", "/configs", "", 400, bad},
	{"PATCH", "/configs", "[]", 400, bad},
	{"PATCH", "/configs", "{", 400, bad},

	{"PUT", "/configs", `{"path":"","payload":""}`, 204, ""},
	{"PUT", "/configs?force=true", `{}`, 204, ""},
	{"PUT", "/configs", "", 400, bad},
	{"PUT", "/configs", "null", 400, bad},
	{"PUT", "/configs", `{"path":1}`, 400, bad},
	{"PUT", "/configs", `{"path":"config.yaml"}`, 400, message("path is not a absolute path")},
	{"PUT", "/configs", `{"path":"/etc/hostname"}`, 400, message("path is not subpath of home directory or SAFE_PATHS: /etc/hostname \n allowed paths: [/home/kernel]")},
	{"PUT", "/configs", `{"path":"/home/kernel/../x"}`, 400, "*"},
	{"PUT", "/configs", `{"path":"/home/kernel2/x"}`, 400, "*"},
	{"PUT", "/configs", `{"path":"/home/kernel/a.yaml"}`, 204, ""},
	{"POST", "/configs/geo", "", 204, ""},

	{"GET", "/proxies/none", "", 404, unknown},
	{"PUT", "/proxies/none", "x", 404, unknown},
	{"PUT", "/proxies/Proxy", `{"name":"DIRECT"}`, 204, ""},
	{"PUT", "/proxies/Proxy", `{"name":"DIRECT"} trailing`, 204, ""},
	{"PUT", "/proxies/Proxy", "x", 400, bad},
	{"PUT", "/proxies/Proxy", "", 400, bad},
	{"PUT", "/proxies/Proxy", "{}", 400, message("Selector update error: proxy not exist")},
	{"PUT", "/proxies/lb", `{"name":"node"}`, 400, message("Must be a Selector")},
	{"PUT", "/proxies/node", `{"name":"x"}`, 400, message("Must be a Selector")},
	{"PUT", "/proxies/node", "x", 400, bad},
	{"DELETE", "/proxies/auto", "", 204, ""},
	{"DELETE", "/proxies/Proxy", "", 400, bad},
	{"DELETE", "/proxies/lb", "", 400, bad},
	{"DELETE", "/proxies/node", "", 400, bad},
	{"DELETE", "/proxies/none", "", 404, unknown},

	{"GET", "/proxies/node/delay" + delayURL, "", 200, `{"delay":40}` + "\n"},
	{"GET", "/proxies/node/delay" + delayURL + "&expected=200-299/404", "", 200, `{"delay":40}` + "\n"},
	{"GET", "/proxies/node/delay" + delayURL + "&expected=abc", "", 400, bad},
	{"GET", "/proxies/node/delay?timeout=abc", "", 400, bad},
	{"GET", "/proxies/node/delay", "", 400, bad},
	{"GET", "/proxies/node/delay?timeout=32768", "", 400, bad},
	{"GET", "/proxies/node/delay?timeout=3000", "", 503, message("An error occurred in the delay test")},
	{"GET", "/proxies/node/delay?timeout=0", "", 504, message("Timeout")},
	{"GET", "/proxies/node/delay?timeout=-1", "", 504, message("Timeout")},
	{"GET", "/proxies/none/delay" + delayURL, "", 404, unknown},
	{"GET", "/group/Proxy/delay?timeout=60000&url=http://t.test/", "", 200, `{"node":40}` + "\n"},
	{"GET", "/group/Proxy/delay?timeout=500", "", 504, message("get delay: all proxies timeout")},
	{"GET", "/group/Proxy/delay?timeout=x", "", 400, bad},
	{"GET", "/group/node/delay?timeout=500", "", 404, unknown},
	{"GET", "/group/node", "", 404, unknown},

	{"GET", "/providers/rules", "", 200, `{"providers":{}}` + "\n"},
	{"PUT", "/providers/rules/none", "", 404, unknown},
	{"GET", "/providers/proxies/none", "", 404, unknown},
	{"PUT", "/providers/proxies/none", "", 404, unknown},
	{"PUT", "/providers/proxies/Proxy", "", 204, ""},
	{"GET", "/providers/proxies/default/healthcheck", "", 204, ""},
	{"GET", "/providers/proxies/none/healthcheck", "", 404, unknown},
	{"GET", "/providers/proxies/default/none", "", 404, unknown},
	{"GET", "/providers/proxies/lb/DIRECT", "", 404, unknown},
	{"GET", "/providers/proxies/default/node/healthcheck" + delayURL, "", 200, `{"delay":40}` + "\n"},

	{"PATCH", "/rules/disable", `{"0":true,"99":true,"-1":false}`, 204, ""},
	{"PATCH", "/rules/disable", "[1]", 400, bad},
	{"PATCH", "/rules/disable", "null", 400, bad},
	{"PATCH", "/rules/disable", `{"x":true}`, 400, bad},
	{"PATCH", "/rules/disable", `{"1":1}`, 400, bad},
	{"PATCH", "/rules/disable", `{"1":null}`, 400, bad},

	{"DELETE", "/connections/nope", "", 204, ""},
	{"DELETE", "/connections", "", 204, ""},
	{"GET", "/logs?level=trace", "", 400, bad},
	{"GET", "/logs?level=INFO", "", 400, bad},
	{"GET", "/dns/query?name=a.test", "", 500, message("DNS section is disabled")},
	{"POST", "/cache/fakeip/flush", "", 204, ""},
	{"POST", "/cache/dns/flush", "", 204, ""},
	{"POST", "/restart", "", 501, "*"},
	{"POST", "/upgrade", "", 500, "*"},
	{"POST", "/upgrade/ui", "", 500, "*"},

	{"GET", "/storage/zz", "", 200, "null"},
	{"PUT", "/storage/k", "{", 400, bad},
	{"PUT", "/storage/k", "", 400, bad},
	{"PUT", "/storage/k", `"` + strings.Repeat("x", 1<<20) + `"`, 413, message("payload exceeds 1MB limit")},
	{"DELETE", "/storage/none", "", 204, ""},
	{"GET", "/storage", "", 404, noRoute},

	{"GET", "/nothing-here", "", 404, noRoute},
	{"GET", "/version/", "", 404, noRoute},
	{"GET", "/logs/", "", 404, noRoute},
	{"GET", "/configs/none", "", 404, noRoute},
	{"GET", "/ui/", "", 404, noRoute},
	{"PUT", "/debug/gc", "", 404, noRoute},
	{"GET", "/debug/pprof/", "", 404, noRoute},
}

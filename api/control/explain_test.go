package control_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/api/control"
	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
)

// house is a configuration whose rules use most of what rules can do.
const house = `
hosts: {pinned.test: 192.0.2.9}
proxies: [{name: node, type: socks5, server: 127.0.0.1, port: 1}]
proxy-groups: [{name: Inner, type: select, proxies: [node, DIRECT]}, {name: Proxy, type: select, proxies: [Inner, DIRECT]}]
rules:
  - DOMAIN,a.test,DIRECT
  - DOMAIN-SUFFIX,b.test,Proxy
  - DOMAIN-KEYWORD,word,REJECT
  - IP-CIDR,192.0.2.0/24,REJECT
  - SUB-RULE,(DST-PORT,8443),inner
  - DOMAIN,udp.test,node
  - MATCH,DIRECT
sub-rules:
  inner: ['DOMAIN,c.test,PASS', 'NETWORK,tcp,Proxy']
`

func (c *controller) explain(query string) (e rest.Explanation) {
	c.t.Helper()
	status, body := c.do("GET", "/rules/explain?"+query, "")
	if err := json.Unmarshal([]byte(body), &e); status != 200 || err != nil {
		c.t.Fatalf("%s: %d %s %v", query, status, body, err)
	}
	return e
}

func TestExplainShowsTheWayOfAFlow(t *testing.T) {
	t.Parallel()
	c := serve(t, house)
	for _, want := range []struct {
		query, proxy, chains, steps string
		rule                        int
	}{
		{"host=x.B.test.&ip=203.0.113.1", "Proxy", "node Inner Proxy", "skipped0 taken1", 1},
		{"host=d.test&ip=192.0.2.77", "REJECT", "REJECT", "skipped0-1 missed2 resolved3=192.0.2.77 taken3", 3},
		{"host=pinned.test", "REJECT", "REJECT", "skipped0-1 missed2 taken3", 3},
		{"host=203.0.113.1&port=8443", "Proxy", "node Inner Proxy",
			"skipped0-1 missed2 skipped3 entered4 inner.skipped0 inner.taken1 taken4", 4},
		{"host=c.test&ip=203.0.113.1&port=8443", "DIRECT", "DIRECT",
			"skipped0-1 missed2 resolved3=203.0.113.1 skipped3 entered4 inner.left0 missed4 skipped5 taken6", 6},
		{"host=x.test&network=udp&ip=203.0.113.1", "DIRECT", "DIRECT", "skipped0-1 missed2 skipped3-5 taken6", 6},
		{"host=203.0.113.1&network=udp", "DIRECT", "DIRECT", "skipped0-1 missed2 skipped3-5 taken6", 6},
	} {
		e := c.explain(want.query)

		if got := spell(e.Steps); e.Proxy != want.proxy || strings.Join(e.Chains, " ") != want.chains || got != want.steps || e.Rule != want.rule {
			t.Errorf("%s: got %s %v by %d: %s; want %s %s by %d: %s", want.query, e.Proxy, e.Chains, e.Rule, got,
				want.proxy, want.chains, want.rule, want.steps)
		}
	}
	for _, r := range c.rules() {
		if r.Extra.HitCount+r.Extra.MissCount != 0 {
			t.Errorf("explaining was counted: %+v", r)
		}
	}
}

func TestExplainFollowsTheModeAndDisabledRules(t *testing.T) {
	t.Parallel()
	c := serve(t, house)
	c.do("PATCH", "/rules/disable", `{"0":true,"1":true,"2":true}`)

	e := c.explain("host=203.0.113.1")

	if got := spell(e.Steps); got != "skipped0-2 skipped3-5 taken6" || e.Steps[0].Disabled != 3 {
		t.Errorf("got %s, %d disabled", got, e.Steps[0].Disabled)
	}
	c.do("PATCH", "/configs", `{"mode":"global"}`)
	if e := c.explain("host=a.test"); e.Mode != "global" || e.Proxy != "GLOBAL" || len(e.Steps) != 0 || e.Rule != -1 || len(e.Chains) != 2 {
		t.Errorf("in mode global: %+v", e)
	}
}

func TestExplainRefusesWhatIsNoFlow(t *testing.T) {
	t.Parallel()
	c := serve(t, house)
	for query, want := range map[string]string{
		"":                      "host is missing",
		"host=a&port=65536":     "port",
		"host=a&port=x":         "port",
		"host=a&network=sctp":   "network",
		"host=a&source=nowhere": "source",
		"host=a&ip=a":           "ip",
		"host=a&dscp=64":        "dscp",
	} {
		if status, body := c.do("GET", "/rules/explain?"+query, ""); status != 400 || !strings.Contains(body, want) {
			t.Errorf("%q: got %d %s, want 400 with %q", query, status, body, want)
		}
	}
}

func TestExplainCommandPrintsStepsAndTheWay(t *testing.T) {
	t.Parallel()
	c := serve(t, house)
	catalog, err := registry.New(plugins.All()...)
	if err != nil {
		t.Fatal(err)
	}
	explain := control.Commands(catalog)["explain"]
	var out bytes.Buffer

	err = explain([]string{"-url", c.base, "-ip", "203.0.113.1", "x.b.test", "443"}, &out)

	for _, want := range []string{"skipped   rules[0]", "taken     rules[1] DomainSuffix,b.test,Proxy", "Proxy by rule 1, exit Proxy → Inner → node"} {
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("got %v:\n%swant %q", err, &out, want)
		}
	}
	if err := explain([]string{"-url", c.base, "x", "port"}, &out); err == nil || !strings.Contains(err.Error(), "port") {
		t.Errorf("got %v, want what the controller says of the port", err)
	}
}

func TestRehearsalShowsExpectationsThatAreNotMet(t *testing.T) {
	t.Parallel()
	catalog, err := registry.New(plugins.All()...)
	if err != nil {
		t.Fatal(err)
	}
	in := configs.Input{Home: t.TempDir(), Name: "config.yaml", Bytes: []byte(house)}
	for _, c := range []struct{ file, out, err string }{
		{"- {host: x.b.test, port: 443, expect: Proxy}\n- {host: x.b.test, expect: node}\n- {host: q.test, ip: 192.0.2.4, expect: REJECT}",
			"3 of 3 expectations met", ""},
		{"- {host: a.test, expect: DIRECT}\n- {host: b.test, expect: REJECT}", "expect.yaml:2: b.test:443: expected REJECT, got:\n", "1 of 2"},
		{"- {host: a.test}", "", "expect is missing"},
		{"- {host: a.test, expekt: DIRECT}", "", `"expekt" is unknown`},
		{"host: a.test", "", "want a list"},
		{"- {host: a.test, port: x, expect: DIRECT}\n- {expect: DIRECT}", "", "host is missing"},
	} {
		var out bytes.Buffer

		err := control.Rehearse(in, catalog, "expect.yaml", []byte(c.file), &out)

		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || !strings.Contains(out.String(), c.out) {
			t.Errorf("%s: got %v and\n%swant %q and %q", c.file, err, &out, c.err, c.out)
		}
	}
}

func TestTestCommandReadsFiles(t *testing.T) {
	t.Parallel()
	catalog, err := registry.New(plugins.All()...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, file := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "expect.yaml")
	if err := os.WriteFile(config, []byte(house), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("- {host: a.test, expect: DIRECT}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer

	err = control.Commands(catalog)["test"]([]string{"-d", dir, "-f", config, file}, &out)

	if err != nil || !strings.Contains(out.String(), "1 of 1") {
		t.Errorf("got %v and %s", err, &out)
	}
}

// spell is steps in short: what, where, and the address that a name got.
func spell(steps []rest.ExplainStep) string {
	var words []string
	for _, s := range steps {
		word := s.Outcome + strconv.Itoa(s.Index)
		if s.Last != s.Index {
			word += "-" + strconv.Itoa(s.Last)
		}
		if s.List != "" {
			word = s.List + "." + word
		}
		if s.Outcome == "resolved" {
			word += "=" + s.IP
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// ruleCount is what GET /rules says was counted of a rule.
type ruleCount struct {
	Extra struct{ HitCount, MissCount int }
}

func (c *controller) rules() []ruleCount {
	c.t.Helper()
	var answer struct{ Rules []ruleCount }
	if _, body := c.do("GET", "/rules", ""); json.Unmarshal([]byte(body), &answer) != nil || len(answer.Rules) == 0 {
		c.t.Fatalf("GET /rules: %s", body)
	}
	return answer.Rules
}

package conf

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

func parse(t *testing.T, text string) Node {
	t.Helper()
	tree, err := Parse("c.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return tree.Root()
}

// lines checks problems, one per line.
func lines(t *testing.T, got Problems, want ...string) {
	t.Helper()
	if g, w := got.Error(), strings.Join(want, "\n"); g != w {
		t.Errorf("problems:\n got: %s\nwant: %s", g, w)
	}
}

func TestDocumentEdges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want string // the problems, "" for a good document
	}{
		"empty":                  {"", ""},
		"comment":                {"# x\n", ""},
		"byte order mark":        {"\ufeffa: 1\n", ""},
		"crlf":                   {"a: 1\r\nb: 2\r\n", ""},
		"json":                   {`{"a": 1}`, ""},
		"second document":        {"a: 1\n---\na: [\n", ""},
		"duplicate key":          {"a: 1\nb:\n  c: 1\n  c: 2\n", `c.yaml:4:3: key "c" stands twice in one map, first at line 3`},
		"tab":                    {"a:\n\tb: 1\n", "c.yaml:2: found character that cannot start any token"},
		"unknown alias":          {"a: *x\n", "c.yaml:1: unknown anchor 'x' referenced"},
		"unclosed list":          {"a: 1\nb: [x\nc: 2\n", "c.yaml:2: did not find expected ',' or ']'"},
		"unclosed list, line 1":  {"a: [x\n", "c.yaml:2: did not find expected ',' or ']'"},
		"alias in its anchor":    {"a: &x\n  b: *x\n", "c.yaml:2:6: alias *x stands inside its own anchor"},
		"merge of text":          {"a:\n  <<: x\n", "c.yaml:2:7: << wants a map or a list of maps, got a single value"},
		"merge of list of text":  {"a:\n  <<: [x]\n", "c.yaml:2:8: << wants a map or a list of maps, got a single value"},
		"two merges":             {"x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n", `c.yaml:4:3: key "<<" stands twice in one map; write one list of aliases`},
		"a list as key":          {"? [a]\n: 1\n", "c.yaml:1:3: a key is a list, want text"},
		"all mistakes are there": {"a: 1\na: 2\nb: 1\nb: 2\n", "c.yaml:2:1: key \"a\" stands twice in one map, first at line 1\nc.yaml:4:1: key \"b\" stands twice in one map, first at line 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("c.yaml", []byte(c.text))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAliasBombIsRefused(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("a00: &a00 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 30; i++ {
		b.WriteString("a" + itoa(i) + ": &a" + itoa(i) + " [" + strings.Repeat("*a"+itoa(i-1)+",", 10) + "]\n")
	}
	_, err := Parse("bomb.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "with its aliases unfolded") {
		t.Fatalf("got %v, want a refusal", err)
	}
}

func itoa(i int) string { return string([]byte{byte('0' + i/10), byte('0' + i%10)}) }

func TestMergeBombIsRefused(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("a: &a {")
	for i := range 5000 {
		b.WriteString("k" + itoa(i/100) + itoa(i%100) + ": 1, ")
	}
	b.WriteString("}\nb:\n")
	for range 5000 {
		b.WriteString("- <<: *a\n")
	}
	if _, err := Parse("bomb.yaml", []byte(b.String())); err == nil {
		t.Fatal("25 million merged keys are taken")
	}
}

func TestDepthIsBounded(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	if _, err := Parse("deep.yaml", []byte(deep)); err == nil || !strings.Contains(err.Error(), "levels deep") {
		t.Fatalf("got %v, want a refusal", err)
	}
}

func TestMergeKeepsOrderAndExplicitKeys(t *testing.T) {
	t.Parallel()
	n := parse(t, "p: &p {a: 1, b: 2}\nq: &q {b: 3, c: 4}\nm:\n  z: 0\n  <<: [*p, *q]\n  a: 9\n").Get("m")

	got, err := n.JSON()

	if want := `{"z":0,"b":2,"c":4,"a":9}`; err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

func TestProblemOfAliasNamesUseAndAnchor(t *testing.T) {
	t.Parallel()
	root := parse(t, "p: &p\n  a: x\nproxies:\n- name: tokyo\n  type: ss\n  opts: *p\n- {<<: *p, name: b}\n")
	a := root.Get("proxies").At(0).Get("opts").Get("a")
	b := root.Get("proxies").At(1).Get("a")

	lines(t, Problems{a.Errorf("bad"), b.Errorf("bad")},
		`c.yaml:6:9: proxies[0] "tokyo" (ss): opts.a: bad (as written at line 2)`,
		`c.yaml:7:8: proxies[1] "b": a: bad (as written at line 2)`)
}

func TestPathsAreWrittenAsTheUserWould(t *testing.T) {
	t.Parallel()
	root := parse(t, "a:\n- b:\n    c.d: 1\n")

	if got, want := root.Get("a").At(0).Get("b").Get("c.d").Path(), `a[0].b."c.d"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := root.Get("x").Get("y").Path(), "x.y"; got != want {
		t.Errorf("absent: got %s, want %s", got, want)
	}
	if root.Get("x").Exists() || (Node{}).Exists() || (Node{}).Place() != (Place{}) {
		t.Error("an absent node exists")
	}
}

func TestHashIgnoresSpelling(t *testing.T) {
	t.Parallel()
	a := parse(t, "x: &x {k: v}\na:\n  one: 1\n  two: *x\n").Get("a").Hash()
	b := parse(t, "# c\na: {\"two\": {k: 'v'}, one: \"1\"}\n").Get("a").Hash()
	c := parse(t, "a: {two: {k: v}, one: 2}\n").Get("a").Hash()
	d := parse(t, "a: {two: {k: v}, one: [1]}\n").Get("a").Hash()

	if a != b {
		t.Error("spelling changes the hash")
	}
	if a == c || a == d || c == d {
		t.Error("a change does not change the hash")
	}
}

func TestSetOverridesWithOrigin(t *testing.T) {
	t.Parallel()
	tree, _ := Parse("c.yaml", []byte("x: &x {ipv6: true, enable: false}\ndns: *x\nother: *x\n"))
	before := tree.Root().Get("dns").Hash()

	tree.Set([]string{"dns", "enable"}, "true", "env CULVERT_DNS__ENABLE")
	tree.Set([]string{"tun", "mtu"}, 9000, "flag -mtu")
	tree.Set([]string{"list"}, "[a, {b: c}]", "env L")

	got, _ := tree.Root().JSON()
	want := `{"x":{"ipv6":true,"enable":false},"dns":{"ipv6":true,"enable":true},"other":{"ipv6":true,"enable":false},"tun":{"mtu":9000},"list":"[a, {b: c}]"}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if tree.Root().Get("dns").Hash() == before {
		t.Error("an override does not change the hash")
	}
	lines(t, Problems{tree.Root().Get("dns").Get("enable").Errorf("bad")}, "env CULVERT_DNS__ENABLE: dns.enable: bad")
	var into struct {
		List []any `yaml:"list"`
	}
	tree.Root().Decode(&into, Loose)
	if text, _ := json.Marshal(into.List); string(text) != `["a",{"b":"c"}]` {
		t.Errorf("list of a variable: got %s", text)
	}
}

type inner struct {
	Port   uint16           `yaml:"port" doc:"a port" min:"1"`
	Secret framework.Secret `yaml:"secret"`
	Prefix netip.Prefix     `yaml:"prefix"`
}

type shared struct {
	Net string `yaml:"net" enum:"tcp,udp" doc:"which"`
}

type outer struct {
	Shared shared            `yaml:",inline"`
	Name   string            `yaml:"name" required:"true"`
	Users  *[]inner          `yaml:"users"`
	Heads  map[string]string `yaml:"heads"`
	Ints   []int             `yaml:"ints"`
	Opts   inner             `yaml:"opts"`
	Raw    Node              `yaml:"raw"`
}

func (o *outer) Validate() error {
	if o.Name == "bad" {
		return &framework.FieldError{Path: "opts.port", Msg: "must not be bad"}
	}
	return nil
}

func TestValidateLandsOnTheLine(t *testing.T) {
	t.Parallel()
	var o outer

	got := parse(t, "name: bad\nOPTS:\n  port: 5\n").Decode(&o, Loose)

	lines(t, got, `c.yaml:2:1: warning: OPTS: loose spelling; write "opts"`, "c.yaml:3:9: OPTS.port: must not be bad")
}

func TestValidateIsQuietWhereDecodingSpoke(t *testing.T) {
	t.Parallel()
	var o outer

	got := parse(t, "name: bad\nopts:\n  port: x\n").Decode(&o, Loose)

	lines(t, got, `c.yaml:3:9: opts.port: want a whole number, got "x"`)
}

func TestPointerTellsAbsentFromEmpty(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"name: a\n": -1, "name: a\nusers:\n": -1, "name: a\nusers: []\n": 0, "name: a\nusers: [{port: 1}]\n": 1} {
		var o outer
		if p := parse(t, text).Decode(&o, Loose); len(p) > 0 {
			t.Errorf("%q: %v", text, p)
		}
		got := -1
		if o.Users != nil {
			got = len(*o.Users)
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestSecretsAreNotInProblems(t *testing.T) {
	t.Parallel()
	var into struct {
		A framework.Secret   `yaml:"a"`
		B framework.Secret   `yaml:"b" enum:"x,y"`
		C []framework.Secret `yaml:"c"`
	}

	got := parse(t, "a: {k: hunter2}\nb: hunter2\nc: hunter2\n").Decode(&into, Loose)

	if len(got) != 3 || strings.Contains(got.Error(), "hunter2") {
		t.Errorf("got %v", got)
	}
}

func TestForeignKeysAreNotUnknown(t *testing.T) {
	t.Parallel()
	var o outer

	got := parse(t, "name: a\ntype: x\ndialer_proxy: y\nheds: {}\nx-note: 1\nhelper: &h 1\n").Decode(&o, Loose, "type", "dialer-proxy")

	lines(t, got, `c.yaml:4:1: warning: heds: unknown key; did you mean "heads"?`)
}

func TestSourceKeepsWarnings(t *testing.T) {
	t.Parallel()
	var o outer
	s := parse(t, "name: a\nints: ['7']\n").Source(Loose)

	err := s.Decode(&o)

	if err != nil || len(o.Ints) != 1 || o.Ints[0] != 7 || len(s.Warnings()) != 1 {
		t.Errorf("got %v, %v, warnings %v", o.Ints, err, s.Warnings())
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"mixed-port", "port", "mode", "trojan"}
	for word, want := range map[string]string{"Mixed_Port": "mixed-port", "trojn": "trojan", "mdoe": "mode", "xyz": "", "ab": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}

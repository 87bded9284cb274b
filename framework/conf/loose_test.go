package conf

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// level reads itself from text.
type level int

func (l *level) UnmarshalText(text []byte) error {
	*l = level(len(text))
	return nil
}

// everything has a key of each type; the values are its defaults.
type everything struct {
	Str    string            `yaml:"str"`
	Enum   string            `yaml:"enum" enum:"rule,global,off" fold:"true"`
	Exact  string            `yaml:"exact" enum:"tcp,udp"`
	Secret framework.Secret  `yaml:"secret"`
	Int    int               `yaml:"int"`
	U16    uint16            `yaml:"u16"`
	U64    uint64            `yaml:"u64"`
	Port   int               `yaml:"port" min:"1" max:"65535"`
	Bool   bool              `yaml:"bool"`
	Float  float64           `yaml:"float"`
	List   []string          `yaml:"list"`
	Ints   []int             `yaml:"ints"`
	Map    map[string]string `yaml:"map"`
	Addr   netip.Addr        `yaml:"addr"`
	AP     netip.AddrPort    `yaml:"addr-port"`
	Level  level             `yaml:"level"`
	Nest   nested            `yaml:"nest-opts"`
	Ptr    *nested           `yaml:"ptr"`
	Users  []nested          `yaml:"users"`
	Any    any               `yaml:"any"`
	Raw    json.RawMessage   `yaml:"raw"`
}

type nested struct {
	Key string `yaml:"key" required:"true"`
	N   int    `yaml:"n"`
}

func defaultEverything() everything {
	return everything{Str: "old", Enum: "rule", Int: 7, Bool: true, List: []string{"old"}, Map: map[string]string{"old": "1"}, Nest: nested{Key: "old"}, Users: []nested{{Key: "old"}}}
}

// row is one decision of the looseness tables: what a key becomes, as JSON, or
// the error that it is. warns says that there is a warning.
type row struct {
	text  string
	key   string
	want  string
	err   string
	warns bool
}

func run(t *testing.T, m Mode, rows map[string]row) {
	t.Helper()
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			into := defaultEverything()
			p := parse(t, r.text+"\n").Decode(&into, m)
			if e := p.Errors(); len(e) > 0 || r.err != "" {
				if r.err == "" || len(e) == 0 || !strings.Contains(e.Error(), r.err) {
					t.Fatalf("error: got %q, want %q", e.Error(), r.err)
				}
				return
			}
			if got := len(p.Warnings()) > 0; got != r.warns {
				t.Errorf("warnings: got %v", p.Warnings())
			}
			got, _ := json.Marshal(Values(&into)[r.key])
			if r.key == "secret" {
				got = []byte(string(into.Secret))
			}
			if string(got) != r.want {
				t.Errorf("%s: got %s, want %s", r.key, got, r.want)
			}
		})
	}
}

func TestStrictSections(t *testing.T) {
	t.Parallel()
	run(t, Strict, map[string]row{
		"unknown key":                  {"sttr: x", "str", `"old"`, "", true},
		"key in other case is unknown": {"STR: x", "str", `"old"`, "", true},
		"key with _ is unknown":        {"nest_opts: {key: x}", "nest-opts", `{"key":"old","n":0}`, "", true},
		"null of a struct":             {"nest-opts:", "nest-opts", `{"key":"old","n":0}`, "", false},
		"null of a scalar":             {"str:\nint: ~\nbool: null", "str", `"old"`, "", false},
		"null of an enum":              {"enum:", "enum", `"rule"`, "", false},
		"null of a list empties it":    {"list:", "list", `[]`, "", false},
		"null of a map empties it":     {"map: ~", "map", `null`, "", false},
		"null of a text value":         {"addr: ~", "addr", `"invalid IP"`, "", false},
		"list replaces default":        {"list: [a]", "list", `["a"]`, "", false},
		"null elements vanish":         {"list: [a, ~, b]", "list", `["a","b"]`, "", false},
		"quoted number for int":        {`int: "7890"`, "", "", `want a whole number, got "7890" in quotes`, false},
		"quoted true for bool":         {`bool: "true"`, "", "", `want true or false, got "true" in quotes`, false},
		"1 for bool":                   {"bool: 1", "", "", `want true or false, got "1"`, false},
		"scalar for list":              {"list: a", "", "", "want a list, got a single value", false},
		"map for list":                 {"list: {a: b}", "", "", "want a list, got a map", false},
		"scalar for map":               {"map: a", "", "", "want a map, got a single value", false},
		"scalar for struct":            {"nest-opts: a", "", "", "want a map, got a single value", false},
		"list for string":              {"str: [a]", "", "", "want text, got a list", false},
		"number for string":            {"str: 123", "str", `"123"`, "", false},
		"octal text is kept":           {"str: 0755", "str", `"0755"`, "", false},
		"exponent text is kept":        {"secret: 1e10", "secret", `1e10`, "", false},
		"bool for string":              {"str: true", "str", `"true"`, "", false},
		"hex":                          {"int: 0x1ed2", "int", `7890`, "", false},
		"octal":                        {"int: 0o17", "int", `15`, "", false},
		"old octal":                    {"int: 017", "int", `15`, "", false},
		"underscores":                  {"int: 7_890", "int", `7890`, "", false},
		"integral float":               {"int: 7890.0", "int", `7890`, "", false},
		"exponent":                     {"int: 1e4", "int", `10000`, "", false},
		"negative":                     {"int: -5", "int", `-5`, "", false},
		"negative hex":                 {"int: -0x10", "int", `-16`, "", false},
		"fraction":                     {"int: 1.5", "", "", "want a whole number", false},
		"not a number":                 {"int: .nan", "", "", "want a whole number", false},
		"infinity":                     {"int: .inf", "", "", "want a whole number", false},
		"duration":                     {"int: 15s", "", "", `want a whole number, got "15s"`, false},
		"too big for its type":         {"u16: 65536", "", "", "want a whole number from 0 to 65535", false},
		"negative for unsigned":        {"u64: -1", "", "", "does not fit", false},
		"the biggest":                  {"u64: 18446744073709551615", "u64", `18446744073709551615`, "", false},
		"too big for int":              {"int: 18446744073709551615", "", "", "does not fit", false},
		"huge float":                   {"int: 1e300", "", "", "want a whole number", false},
		"below min":                    {"port: 0", "", "", "must be at least 1, got 0", false},
		"above max":                    {"port: 65536", "", "", "must be at most 65535, got 65536", false},
		"yes":                          {"bool: No", "bool", `false`, "", false},
		"on":                           {"bool: on", "bool", `true`, "", false},
		"bare off for an enum":         {"enum: off", "enum", `"off"`, "", false},
		"false for an enum":            {"enum: false", "", "", `must be rule, global or off, got "false"`, false},
		"enum in other case":           {"enum: GLOBAL", "enum", `"global"`, "", false},
		"exact enum in other case":     {"exact: TCP", "", "", `must be tcp or udp, got "TCP"; did you mean "tcp"?`, false},
		"empty enum":                   {`enum: ""`, "", "", `must be rule, global or off, got ""`, false},
	})
}

func TestStrictValues(t *testing.T) {
	t.Parallel()
	run(t, Strict, map[string]row{
		"float":                       {"float: 1", "float", `1`, "", false},
		"address":                     {"addr: 1.2.3.4", "addr", `"1.2.3.4"`, "", false},
		"bad address":                 {"addr: x", "", "", `want an IP address, got "x"`, false},
		"address with port":           {"addr-port: '[::1]:53'", "addr-port", `"[::1]:53"`, "", false},
		"own text type":               {"level: abc", "level", `"3"`, "", false},
		"missing key of a nested map": {"users: [{n: 1}]", "", "", `users[0]: key "key" is missing`, false},
		"null value in a map":         {"map: {a: ~}", "map", `{"a":""}`, "", false},
		"anything":                    {"any: {a: [1, 1.5, yes, ~, true, x]}", "any", `{"a":[1,1.5,"yes",null,true,"x"]}`, "", false},
		"raw JSON":                    {"raw: {b: 0x10, a: [~]}", "raw", `{"b":16,"a":[null]}`, "", false},
	})
}

func TestLooseEntries(t *testing.T) {
	t.Parallel()
	run(t, Loose, map[string]row{
		"key in other case":           {"STR: x", "str", `"x"`, "", true},
		"key with _":                  {"nest_opts: {key: x}", "nest-opts", `{"key":"x","n":0}`, "", true},
		"exact key wins":              {"STR: x\nstr: y", "str", `"y"`, "", false},
		"unknown key":                 {"sttr: x", "str", `"old"`, "", true},
		"string from int":             {"str: 123456", "str", `"123456"`, "", false},
		"string from float":           {"str: 1234e12", "str", `"1234e12"`, "", false},
		"string from octal":           {"secret: 01234567", "secret", `01234567`, "", false},
		"string from bool":            {"str: true", "", "", "want text, got a boolean; put it in quotes", false},
		"string from yes":             {"str: yes", "str", `"yes"`, "", false},
		"string from list":            {"str: [a]", "", "", "want text, got a list", false},
		"int from text":               {`int: "1080"`, "int", `1080`, "", true},
		"int from hex text":           {`int: "0x10"`, "int", `16`, "", true},
		"int from 0o text":            {`int: "0o10"`, "int", `8`, "", true},
		"int from octal text":         {`int: "010"`, "int", `8`, "", true},
		"int from words":              {"int: abc", "", "", "want a whole number", false},
		"int from a span of time":     {"int: 5m", "", "", "want a whole number", false},
		"int from float":              {"int: 80.7", "int", `80`, "", true},
		"int from a whole float":      {"int: 80.0", "int", `80`, "", false},
		"int from bool":               {"int: true", "", "", "want a whole number", false},
		"bool from 1":                 {"bool: 1", "bool", `true`, "", true},
		"bool from 0":                 {"bool: 0", "bool", `false`, "", true},
		"bool from 2":                 {"bool: 2", "bool", `true`, "", true},
		"bool from quoted true":       {`bool: "true"`, "", "", `want true or false, got "true" in quotes`, false},
		"bool from yes":               {"bool: yes", "bool", `true`, "", true},
		"bool from float":             {"bool: 1.0", "", "", "want true or false", false},
		"list from scalar":            {"list: a", "", "", "want a list, got a single value", false},
		"null element is zero":        {"list: [a, ~]", "list", `["a",""]`, "", false},
		"null element of ints":        {"ints: [1, ~]", "ints", `[1,0]`, "", false},
		"null of a list is absent":    {"list: ~", "list", `["old"]`, "", false},
		"null of a map is absent":     {"map:", "map", `{"old":"1"}`, "", false},
		"null of a struct is absent":  {"ptr:", "ptr", `null`, "", false},
		"null value in a map":         {"map: {a: ~}", "", "", "map.a: has no value", false},
		"struct from scalar":          {"nest-opts: x", "", "", "want a map, got a single value", false},
		"nested keys are not needed":  {"ptr: {n: '5'}", "ptr", `{"Key":"","N":5}`, "", true},
		"range is the type's":         {"int: 99999", "int", `99999`, "", false},
		"float from text":             {`float: "1.5"`, "float", `1.5`, "", false},
		"users keep order":            {"users: [{key: b}, {key: a}]", "users", `[{"key":"b","n":0},{"key":"a","n":0}]`, "", false},
		"loose keys in nested":        {"nest-opts: {KEY: x}", "nest-opts", `{"key":"x","n":0}`, "", true},
		"map keys keep their case":    {"map: {Host_A: x}", "map", `{"Host_A":"x"}`, "", false},
		"explicit string tag":         {"str: !!str true", "str", `"true"`, "", false},
		"exact enum in other case":    {"exact: UDP", "", "", "must be tcp or udp", false},
		"unsigned from negative text": {`u16: "-1"`, "", "", "does not fit", false},
	})
}

func TestLooseCaseDoesNotTakeUnderscores(t *testing.T) {
	t.Parallel()
	run(t, LooseCase, map[string]row{
		"key in other case":     {"Nest-Opts: {key: x}", "nest-opts", `{"key":"x","n":0}`, "", true},
		"key with _ is unknown": {"nest_opts: {key: x}", "nest-opts", `{"key":"old","n":0}`, "", true},
	})
}

func TestRequiredKeysOfAnEntry(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: b":   `c.yaml:1:1: key "key" is missing` + "\n" + `c.yaml:1:1: warning: a: unknown key`,
		"key: ~": `c.yaml:1:1: key "key" is missing`,
		"key: 5": "",
		"KEY: x": `c.yaml:1:1: warning: KEY: loose spelling; write "key"`,
		"":       `c.yaml:1:1: key "key" is missing`,
	} {
		var into nested
		if got := parse(t, text).Decode(&into, Loose).Error(); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestDefaultsBehindPointersStay(t *testing.T) {
	t.Parallel()
	shared := &nested{Key: "old", N: 1}
	into := everything{Ptr: shared}

	parse(t, "ptr: {n: 2}").Decode(&into, Loose)

	if into.Ptr.N != 2 || into.Ptr.Key != "old" || shared.N != 1 {
		t.Errorf("got %+v, shared %+v", into.Ptr, shared)
	}
}

func TestRuleArgsAreAPayloadOrAList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"a.com": "a.com", "[a.com, no-resolve]": "a.com no-resolve"} {
		var into framework.RuleArgs
		if p := parse(t, text).Decode(&into, Loose); len(p) > 0 {
			t.Error(p)
		}
		if got := strings.Join(append([]string{into.Payload}, into.Params...), " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSchemaDescribesAStruct(t *testing.T) {
	t.Parallel()
	var got struct {
		Type       string
		Required   []string
		Properties map[string]struct {
			Type    any
			Enum    []any
			Default any
			Minimum *int
			Maximum *int
			Items   map[string]any
		}
	}
	e := defaultEverything()
	if err := json.Unmarshal(Schema(&e), &got); err != nil {
		t.Fatal(err)
	}

	if got.Type != "object" || len(got.Properties) != 21 {
		t.Errorf("got %s with %d properties", got.Type, len(got.Properties))
	}
	if p := got.Properties["port"]; *p.Minimum != 1 || *p.Maximum != 65535 {
		t.Errorf("port: %+v", p)
	}
	if p := got.Properties["enum"]; len(p.Enum) != 4 || p.Default != "rule" {
		t.Errorf("enum: %+v", p)
	}
	if p := got.Properties["users"]; p.Items["additionalProperties"] != false || p.Items["required"] == nil {
		t.Errorf("users: %+v", p)
	}
	if p := got.Properties["secret"]; p.Default != nil {
		t.Errorf("secret: %+v", p)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"str: x\nint: 0x10\nlist: [a, ~]\n", "a: &a {b: *a}", "x: &x {k: v}\ny: {<<: [*x, *x], k: w}\n", "? [a]\n: b\n", "- - - - a\n",
		"int: 1e400\nu64: -0\nbool: y\n", "\ufeffa: 1\r\n", "---\n--- a\n", "users: [{key: 1, n: '0b1'}]\nmap: {a: ~}\n", "str: !!binary x\nraw: {a: !!float 1}\n", "? ~\n: 1\n", "any: {? : 1}\n",
	} {
		f.Add([]byte(s), "nest-opts.key")
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		tree, err := Parse("f", text)
		if err != nil {
			if _, ok := err.(Problems); !ok {
				t.Fatalf("error is %T", err)
			}
			return
		}
		for _, m := range []Mode{Strict, Loose, LooseCase} {
			into := defaultEverything()
			_ = tree.Root().Decode(&into, m).Error()
		}
		out, err := tree.Root().JSON()
		if err != nil || !json.Valid(out) {
			t.Fatalf("JSON %q: %v", out, err)
		}
		before := tree.Root().Hash()
		_ = tree.Root().find(path, Loose).Path()
		tree.Set([]string{"str", path}, path, "flag -x")
		tree.Set([]string{"list"}, path, "flag -x")
		into := defaultEverything()
		_ = tree.Root().Decode(&into, Loose).Error()
		again, _ := Parse("g", text)
		if again.Root().Hash() != before {
			t.Fatal("hash changes from parse to parse")
		}
	})
}

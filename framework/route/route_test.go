package route_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/route"
)

// The rules of these tests: IS,x holds for host x; ADDR,x for address x.
type catalog struct{}

func (catalog) Lookup(_ framework.Kind, typ string) (framework.Descriptor, bool) {
	switch typ {
	case "IS":
		return framework.NewRule("IS", "Is", func(a framework.RuleArgs) (framework.Rule, error) {
			if a.Payload == "" {
				return nil, errors.New("payload is empty")
			}
			return is(a.Payload), nil
		}), true
	case "ADDR":
		return framework.NewRule("ADDR", "Addr", func(a framework.RuleArgs) (framework.Rule, error) {
			return addr(a.Payload), nil
		}, framework.WithCaps(framework.CapNeedIP)), true
	case "MATCH":
		return framework.NewRule("MATCH", "Match", func(framework.RuleArgs) (framework.Rule, error) { return always{}, nil }), true
	}
	return framework.Descriptor{}, false
}

type is string

func (r is) Match(_ *framework.Flow, f framework.Facts) (bool, error) {
	return f.Host() == string(r), nil
}

type addr string

func (r addr) Match(_ *framework.Flow, f framework.Facts) (bool, error) {
	ip, ok := f.IP()
	return ok && ip.String() == string(r), nil
}

type always struct{}

func (always) Match(*framework.Flow, framework.Facts) (bool, error) { return true, nil }

// visitor is a flow to host; its name resolves to addr.
type visitor struct {
	host     string
	resolves string
	ip       netip.Addr
	asked    int
	verdicts map[string]route.Verdict
}

func (v *visitor) Host() string           { return v.host }
func (v *visitor) IP() (netip.Addr, bool) { return v.ip, v.ip.IsValid() }
func (v *visitor) Resolve() {
	v.asked++
	if v.resolves != "" {
		v.ip = netip.MustParseAddr(v.resolves)
	}
}
func (v *visitor) Accept(target string) route.Verdict { return v.verdicts[target] }

// parse reads lines as the configuration does, for the types of these tests.
func parse(lines []string) (out []route.Line) {
	for _, l := range lines {
		typ, rest, _ := strings.Cut(l, ",")
		var target string
		var params []string
		if strings.HasSuffix(rest, ",no-resolve") {
			rest, params = strings.TrimSuffix(rest, ",no-resolve"), []string{"no-resolve"}
		}
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, target = rest[:i], rest[i+1:]
		} else {
			rest, target = "", rest
		}
		out = append(out, route.Line{Type: typ, Payload: rest, Target: target, Params: params})
	}
	return out
}

func compile(t *testing.T, main []string, subs map[string][]string) *route.Table {
	t.Helper()
	parsed := map[string][]route.Line{}
	for name, lines := range subs {
		parsed[name] = parse(lines)
	}
	table, errs := route.Compile(parse(main), parsed, catalog{})
	if len(errs) > 0 {
		t.Fatalf("compile: %v", errs)
	}
	return table
}

func TestWalkTakesTheFirstRuleThatHolds(t *testing.T) {
	t.Parallel()
	subs := map[string][]string{
		"inner": {"IS,deep,Deep"},
		"sub":   {"IS,b,B", "SUB-RULE,(IS,deep),inner", "IS,p,PASS", "IS,r,PASS-RULE", "IS,r,R"},
	}
	main := []string{
		"IS,a,A",
		"AND,((IS,and),(ADDR,1.1.1.1)),And",
		"OR,((IS,or1),(IS,or2)),Or",
		"SUB-RULE,(OR,((IS,b),(IS,deep),(IS,p),(IS,r),(IS,none))),sub",
		"IS,p,AfterSub",
		"IS,main-pass,PASS",
		"NOT,((IS,last)),Rest",
	}
	for _, c := range []struct{ host, target, rule string }{
		{"a", "A", "Is a"},
		{"and", "And", "AND ((Is,and) && (Addr,1.1.1.1))"},
		{"or2", "Or", "OR ((Is,or1) || (Is,or2))"},
		{"b", "B", "SubRules (OR,((IS,b),(IS,deep),(IS,p),(IS,r),(IS,none)))"},
		{"deep", "Deep", "SubRules (OR,((IS,b),(IS,deep),(IS,p),(IS,r),(IS,none)))"},
		{"p", "AfterSub", "Is p"},
		{"r", "R", "SubRules (OR,((IS,b),(IS,deep),(IS,p),(IS,r),(IS,none)))"},
		{"none", "Rest", "NOT (!(Is,last))"},
		{"main-pass", "Rest", "NOT (!(Is,last))"},
		{"last", "", ""},
	} {
		table := compile(t, main, subs)
		v := &visitor{host: c.host, resolves: "1.1.1.1", verdicts: map[string]route.Verdict{"PASS": route.Leave, "PASS-RULE": route.Next}}

		r, target := table.Main().Match(&framework.Flow{}, v, time.Now())

		got := ""
		if r != nil {
			got = r.Label + " " + r.Payload
		}
		if target != c.target || got != c.rule {
			t.Errorf("%s: %q by %q, want %q by %q", c.host, target, got, c.target, c.rule)
		}
	}
}

func TestNameIsResolvedOnceAndOnlyForARuleThatNeedsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		rules  []string
		subs   map[string][]string
		asked  int
		target string
	}{
		{"decided before", []string{"IS,h,A", "ADDR,1.1.1.1,B"}, nil, 0, "A"},
		{"no-resolve", []string{"ADDR,1.1.1.1,B,no-resolve", "MATCH,C"}, nil, 0, "C"},
		{"needed", []string{"ADDR,2.2.2.2,A", "ADDR,1.1.1.1,B"}, nil, 1, "B"},
		{"no-resolve behind one that resolved", []string{"ADDR,2.2.2.2,A", "ADDR,1.1.1.1,B,no-resolve"}, nil, 1, "B"},
		{"child of a condition that is false", []string{"AND,((IS,x),(ADDR,1.1.1.1)),A", "MATCH,C"}, nil, 1, "C"},
		{"inside a sub-rule", []string{"SUB-RULE,(IS,x),s", "MATCH,C"}, map[string][]string{"s": {"ADDR,1.1.1.1,A"}}, 1, "C"},
	} {
		v := &visitor{host: "h", resolves: "1.1.1.1"}

		_, target := compile(t, c.rules, c.subs).Main().Match(&framework.Flow{}, v, time.Now())

		if v.asked != c.asked || target != c.target {
			t.Errorf("%s: asked %d times, target %q; want %d, %q", c.name, v.asked, target, c.asked, c.target)
		}
	}
}

func TestHitsAndMissesAreCountedAndDisabledRulesNeverHold(t *testing.T) {
	t.Parallel()
	table := compile(t, []string{"IS,a,A", "IS,b,B", "MATCH,C"}, nil)
	rules := table.Main().Rules()
	rules[1].SetDisabled(true)
	now := time.Unix(100, 5)

	_, target := table.Main().Match(&framework.Flow{}, &visitor{host: "b"}, now)

	if target != "C" {
		t.Errorf("target %q, want C: the rule for b is disabled", target)
	}
	at := now.UnixNano()
	for i, want := range []route.Counters{{Misses: 1, MissAt: at}, {}, {Hits: 1, HitAt: at}} {
		if got := table.Main().Counters()[i]; got != want {
			t.Errorf("rule %d: got %+v, want %+v", i, got, want)
		}
	}
}

func TestMistakesNameTheListAndTheLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, want string
	}{
		{"IS,,A", "payload is empty"},
		{"NOPE,x,A", `unknown rule type "NOPE"`},
		{"AND,((IS,a),(NOPE,b)),A", `unknown rule type "NOPE"`},
		{"AND,(),A", "no condition"},
		{"AND,((IS,a),()),A", "no condition"},
		{"AND,((IS,a),A", "do not match"},
		{"AND,(IS,a)),A", "do not match"},
		{"AND,x((IS,a)),A", "outside parentheses"},
		{"NOT,((IS,a),(IS,b)),A", "takes one condition"},
		{"OR,((MATCH,x)),A", "cannot stand inside"},
		{"OR,((SUB-RULE,(IS,a),s)),A", "cannot stand inside"},
		{"OR,((IS)),A", "want TYPE,payload"},
		{"SUB-RULE,(IS,a),gone", `"gone" is not defined`},
		{"SUB-RULE,((IS,a),(IS,b)),s", "takes one condition"},
		{"SUB-RULE,IS,s", "outside parentheses"},
		{"SUB-RULE,(IS,a),loop1", "loop1 → loop2 → loop1"},
		{"AND," + strings.Repeat("(", 100) + strings.Repeat(")", 100) + ",A", "nest deeper"},
	} {
		subs := map[string][]route.Line{"s": nil, "loop1": nil, "loop2": nil}
		if strings.Contains(c.line, "loop") {
			subs["loop1"] = parse([]string{"SUB-RULE,(IS,a),loop2"})
			subs["loop2"] = parse([]string{"SUB-RULE,(IS,a),loop1"})
		}

		table, errs := route.Compile(parse([]string{"MATCH,X", c.line}), subs, catalog{})

		if table != nil || len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
			t.Errorf("%s: table %v, errors %v; want one with %q", c.line, table != nil, errs, c.want)
			continue
		}
		if !strings.Contains(c.line, "loop") && (errs[0].List != "" || errs[0].Index != 1) {
			t.Errorf("%s: error at %q[%d], want rules[1]", c.line, errs[0].List, errs[0].Index)
		}
	}
}

func FuzzLogicPayload(f *testing.F) {
	for _, s := range []string{"((IS,a),(IS,b))", "(IS,a)", "((AND,((IS,a))),(NOT,((IS,b))))", "((((", "))", "(,)", "((IS,a)", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, typ := range []string{"AND", "OR", "NOT"} {
			table, errs := route.Compile([]route.Line{{Type: typ, Payload: payload, Target: "A"}}, nil, catalog{})
			if (table == nil) != (len(errs) > 0) {
				t.Fatalf("table %v, errors %v", table != nil, errs)
			}
		}
	})
}

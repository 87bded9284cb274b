package route

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// set is a rule that stands for many names and prefixes, and counts how often
// it is asked.
type set struct {
	keys  []framework.Key
	asked *int
}

func (s set) Index() []framework.Key { return s.keys }

func (s set) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	*s.asked++
	return facts.Host() == "asked.test", nil
}

func (s set) Entry(_ *framework.Flow, facts framework.Facts) string { return "+." + facts.Host() }

// setCatalog has SET, whose payload picks its keys, and MATCH.
func setCatalog(asked *int) builtRules {
	c := newBuiltRules()
	c["SET"] = framework.NewRule("SET", "Set", func(a framework.RuleArgs) (framework.Rule, error) {
		keys := map[string][]framework.Key{
			"many": {
				{Fact: framework.FactHost, Name: "one.test"}, {Fact: framework.FactHostSuffix, Name: "two.test"},
				{Fact: framework.FactSource, Prefix: netip.MustParsePrefix("10.0.0.0/8")},
				{Fact: framework.FactSource, Prefix: netip.MustParsePrefix("10.1.0.0/16")},
			},
			"unknown":   {{Fact: framework.FactHost, Name: "one.test"}, {Fact: framework.FactNetwork + 1}},
			"no prefix": {{Fact: framework.FactSource}},
		}
		return set{keys[a.Payload], asked}, nil
	})
	return c
}

func TestRuleOfManyKeysIsFoundByEachAndNotAsked(t *testing.T) {
	t.Parallel()
	asked := 0
	table, errs := Compile([]Line{{Type: "SET", Payload: "many", Target: "A"}}, nil, setCatalog(&asked))
	if errs != nil {
		t.Fatal(errs)
	}
	for host, source := range map[string]string{"one.test": "1.1.1.1", "x.two.test": "1.1.1.1", "other": "10.1.2.3"} {
		f := &framework.Flow{Source: netip.AddrPortFrom(netip.MustParseAddr(source), 1)}

		if r, _ := table.Main().Match(f, &taker{host: host}, time.Now()); r == nil {
			t.Errorf("%s from %s: no rule", host, source)
		}
	}
	if asked != 0 {
		t.Errorf("the rule was asked %d times", asked)
	}
}

func TestRuleWithKeysThatTheRouterDoesNotKnowIsAsked(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"unknown", "no prefix", "none"} {
		asked := 0
		table, errs := Compile([]Line{{Type: "SET", Payload: payload, Target: "A"}}, nil, setCatalog(&asked))
		if errs != nil {
			t.Fatal(errs)
		}

		r, _ := table.Main().Match(&framework.Flow{}, &taker{host: "asked.test"}, time.Now())

		if r == nil || asked != 1 {
			t.Errorf("%s: rule %v, asked %d times", payload, r, asked)
		}
	}
}

func TestExplainNamesTheEntryOfASet(t *testing.T) {
	t.Parallel()
	asked := 0
	table, errs := Compile([]Line{{Type: "DOMAIN", Payload: "x", Target: "B"}, {Type: "SET", Payload: "none", Target: "A"}}, nil, setCatalog(&asked))
	if errs != nil {
		t.Fatal(errs)
	}
	var entries, outcomes []string

	table.Main().Explain(&framework.Flow{}, &taker{host: "asked.test"}, func(s Step) {
		entries, outcomes = append(entries, s.Entry), append(outcomes, string(s.Outcome))
	})

	if got := strings.Join(entries, "|") + " " + strings.Join(outcomes, "|"); got != "|+.asked.test skipped|taken" {
		t.Errorf("got %s", got)
	}
}

func TestCountersAddUpUnderLoad(t *testing.T) {
	t.Parallel()
	const flows = 2000
	table, errs := Compile([]Line{{Type: "DOMAIN", Payload: "a", Target: "A"}, {Type: "DOMAIN", Payload: "b", Target: "B"},
		{Type: "MATCH", Target: "C"}}, nil, newBuiltRules())
	if errs != nil {
		t.Fatal(errs)
	}
	l := table.Main()
	var wg sync.WaitGroup
	for _, host := range []string{"a", "b", "c"} {
		wg.Go(func() {
			for range flows {
				l.Match(&framework.Flow{}, &taker{host: host}, time.Now())
			}
		})
	}
	wg.Go(func() {
		for i := range flows / 10 {
			l.Disable(map[int]bool{1: i%2 == 0})
			l.Counters()
		}
	})
	wg.Wait()

	got := l.Counters()
	if got[0].Hits != flows || got[0].Misses != 2*flows || got[1].Hits+got[2].Hits != 2*flows || got[1].Misses > 2*flows {
		t.Errorf("got %+v", got)
	}
}

func TestPrefixesHoldTheirFirstAndLastAddressOnly(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0.0.0.0/0", "255.255.255.255/32", "10.0.0.0/9", "::/0", "ffff::/16", "2001:db8::/64", "2001:db8::/65", "::1/128"} {
		p := netip.MustParsePrefix(text)
		e := prefixSpan(p, 7)
		s := newSpans([]span{e})
		if s.next(e.low, 0) != 7 || s.next(e.high, 0) != 7 || s.next(e.low, 8) != none {
			t.Errorf("%s: an end is missing", p)
		}
		if e.low != (wide{}) && s.next(wide{e.low.hi - boolBit(e.low.lo == 0), e.low.lo - 1}, 0) != none {
			t.Errorf("%s holds what is before it", p)
		}
		if behind, ok := e.high.next(); ok && s.next(behind, 0) != none {
			t.Errorf("%s holds what is behind it", p)
		}
	}
}

func boolBit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

package conformance

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// RuleCase is what the kit needs to know of a rule type.
type RuleCase struct {
	Payload string   // one that works
	Params  []string // what stands behind the target
	Holds   []Asked  // flows that the rule holds for
	Fails   []Asked  // flows that it does not hold for
	Wrong   []string // payloads that are mistakes
}

// Asked is a flow and what is known of it.
type Asked struct {
	Flow framework.Flow
	Host string     // Facts.Host
	IP   netip.Addr // Facts.IP; zero when it is not known
}

func ruleChecks() []check {
	return append(describeChecks(),
		check{"configuration/the payload is accepted", payloadIsAccepted},
		check{"configuration/a wrong payload is refused with a reason", wrongPayloadIsRefused},
		check{"match/the rule holds where it should", ruleHolds},
		check{"match/the answer is the same again and from many goroutines", ruleIsSteady},
		check{"match/a flow of which nothing is known has an answer", emptyFlow},
		check{"match/the flow stays as it was", flowIsNotWritten},
		check{"speed/report", reportRule},
	)
}

// args is a rule's configuration as the kernel reads one.
type args framework.RuleArgs

// Decode implements framework.Source.
func (a args) Decode(into any) error {
	to, ok := into.(*framework.RuleArgs)
	if !ok {
		return errors.New("a rule decodes into framework.RuleArgs")
	}
	*to = framework.RuleArgs(a)
	return nil
}

func (t *trial) ruleOf(payload string) (framework.Rule, error) {
	return framework.Build[framework.Rule](t.context(), t.d, t.host, args{Payload: payload, Params: t.rule.Params})
}

func (t *trial) buildRule() framework.Rule {
	r, err := t.ruleOf(t.rule.Payload)
	if err != nil {
		t.fatalf("%v", err)
	}
	return r
}

// known is the facts of an Asked.
type known struct{ a *Asked }

func (k known) Host() string           { return k.a.Host }
func (k known) IP() (netip.Addr, bool) { return k.a.IP, k.a.IP.IsValid() }

// match asks r; across the wire it may take three tries on a busy machine.
func match(r framework.Rule, a Asked) (ok bool, err error) {
	for range 3 {
		if ok, err = r.Match(&a.Flow, known{&a}); framework.Classify(err) != framework.ErrTimeout {
			break
		}
	}
	return ok, err
}

func payloadIsAccepted(t *trial) {
	if err := t.d.Check(args{Payload: t.rule.Payload, Params: t.rule.Params}); err != nil {
		t.errorf("Check: %v", err)
	}
	t.buildRule()
}

func wrongPayloadIsRefused(t *trial) {
	if len(t.rule.Wrong) == 0 {
		t.skipf("the case has no wrong payload")
	}
	for _, p := range t.rule.Wrong {
		checked := t.d.Check(args{Payload: p, Params: t.rule.Params})
		_, built := t.ruleOf(p)
		if checked == nil || built == nil {
			t.errorf("payload %q: Check says %v, Build says %v, want an error of both", p, checked, built)
			continue
		}
		if strings.TrimSpace(checked.Error()) == "" {
			t.errorf("payload %q: the error has no text", p)
		}
	}
}

// asked are the flows of the case, those that the rule holds for first.
func (t *trial) asked() []Asked {
	all := slices.Concat(t.rule.Holds, t.rule.Fails)
	if len(all) == 0 {
		t.skipf("the case has no flow")
	}
	return all
}

func ruleHolds(t *trial) {
	t.asked()
	r := t.buildRule()
	for _, want := range []bool{true, false} {
		list := t.rule.Fails
		if want {
			list = t.rule.Holds
		}
		for _, a := range list {
			if got, err := match(r, a); err != nil || got != want {
				t.errorf("%+v: got %v, %v, want %v", a, got, err, want)
			}
		}
	}
}

func ruleIsSteady(t *trial) {
	t.asked()
	r := t.buildRule()
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() { // ends with its questions
			defer t.guard()
			for _, a := range t.rule.Holds {
				if ok, err := match(r, a); !ok || err != nil {
					t.errorf("%+v: got %v, %v", a, ok, err)
				}
			}
			for _, a := range t.rule.Fails {
				if ok, err := match(r, a); ok || err != nil {
					t.errorf("%+v: got %v, %v", a, ok, err)
				}
			}
		})
	}
	running.Wait()
}

func emptyFlow(t *trial) {
	r := t.buildRule()
	for _, f := range []framework.Flow{{}, {Network: framework.TCP}, {Network: framework.UDP, Destination: framework.Addr{Port: 53}}} {
		if _, err := match(r, Asked{Flow: f}); err != nil {
			t.errorf("%+v: %v", f, err)
		}
	}
}

func flowIsNotWritten(t *trial) {
	r := t.buildRule()
	for _, a := range t.asked() {
		before := a.Flow
		if r.Match(&a.Flow, known{&a}); a.Flow != before {
			t.errorf("Match wrote to the flow: got %+v, want %+v", a.Flow, before)
		}
	}
}

func reportRule(t *trial) {
	all := t.asked()
	r := t.buildRule()
	rounds := 1000/len(all) + 1
	began := time.Now()
	for range rounds {
		for i := range all {
			r.Match(&all[i].Flow, known{&all[i]})
		}
	}
	t.notef("speed: a match takes %v", time.Since(began)/time.Duration(rounds*len(all)))
}

package route

import (
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Outcome is what became of a rule in an explanation.
type Outcome string

// The outcomes.
const (
	Skipped  Outcome = "skipped"  // rules that do not hold or are disabled: the index leads past them
	Missed   Outcome = "missed"   // the rule was asked and does not hold, or its sub-rules found nothing
	Resolved Outcome = "resolved" // the name was resolved, as the rule needs an address
	Entered  Outcome = "entered"  // the condition of a SUB-RULE holds; its rules follow
	Passed   Outcome = "passed"   // the rule holds; its target lets the walk go on
	Left     Outcome = "left"     // the rule holds; its target ends the sub-rules
	Taken    Outcome = "taken"    // the rule decides
	Ended    Outcome = "ended"    // the list ended and no rule of it decided
)

// Step is one thing that happens to a flow on its way through the rules.
type Step struct {
	Outcome  Outcome
	List     string // "" for the main one
	Depth    int    // how many SUB-RULE lines are open
	Rule     *Rule  // nil for Skipped and Ended
	First    int    // numbers of rules in the list, the same but for Skipped;
	Last     int    // those of Ended are one behind the last rule
	Disabled int    // how many of the skipped are
	Entry    string // of a set: what in it holds, "" when that is not known
	Took     time.Duration
}

// Explain tests the rules of l in order, as Match does by a shorter way, and
// calls report with each step as it happens: v is then as the step left it. It
// counts nothing. The times are those of a scan.
func (l *List) Explain(f *framework.Flow, v Visitor, report func(Step)) (*Rule, string) {
	x := explainer{flow: f, visitor: v, report: report, last: time.Now(), entered: map[*Rule]bool{}}
	s := scan{flow: f, visitor: v, see: x.see}
	r, target, _ := s.list(l)
	return r, target
}

// explainer makes steps of what a scan comes by.
type explainer struct {
	flow    *framework.Flow
	visitor Visitor
	report  func(Step)
	last    time.Time
	run     *Step // rules that were skipped and are not reported yet
	entered map[*Rule]bool
}

func (x *explainer) see(e event) {
	now := time.Now()
	took := now.Sub(x.last)
	x.last = now
	if e.what == disabled || e.what == missed && e.rule.keyed && !x.entered[e.rule] {
		x.skip(e, took)
		return
	}
	if x.run != nil {
		x.report(*x.run)
		x.run = nil
	}
	s := Step{Outcome: outcomes[e.what], List: e.list.Name, Depth: e.depth, Rule: e.rule, First: len(e.list.rules), Took: took}
	if e.rule != nil {
		s.First = e.rule.Index
	}
	s.Last = s.First
	switch e.what {
	case entered:
		x.entered[e.rule] = true
		s.Entry = x.entry(e.rule)
	case passed, left, taken:
		s.Entry = x.entry(e.rule)
	}
	x.report(s)
}

// outcomes names what a scan comes by.
var outcomes = [...]Outcome{disabled: Skipped, resolved: Resolved, entered: Entered, missed: Missed,
	passed: Passed, left: Left, taken: Taken, ended: Ended}

// skip adds a rule to the run of those skipped.
func (x *explainer) skip(e event, took time.Duration) {
	if x.run == nil {
		x.run = &Step{Outcome: Skipped, List: e.list.Name, Depth: e.depth, First: e.rule.Index}
	}
	x.run.Last = e.rule.Index
	x.run.Took += took
	if e.what == disabled {
		x.run.Disabled++
	}
}

// entry is what of a set holds for the flow.
func (x *explainer) entry(r *Rule) string {
	if p, ok := r.cond.(plain); ok {
		if n, ok := p.rule.(framework.EntryNamer); ok {
			return n.Entry(x.flow, x.visitor)
		}
	}
	return ""
}

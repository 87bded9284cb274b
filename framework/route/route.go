// Package route turns a flow into the name of an outbound or group: it walks
// an ordered list of rules and stops at the first that holds. Rules that refer
// to other rules (AND, OR, NOT, SUB-RULE) are its own; all others are plugins.
//
// A Table is immutable but for its counters and the disabled marks, and is
// safe for concurrent use. It knows neither outbounds nor addresses: what it
// asks of a flow it asks through Visitor.
package route

import (
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Visitor is the flow's side of a walk. It belongs to one goroutine.
type Visitor interface {
	framework.Facts
	// Resolve makes IP known when the destination is a name; it is called at
	// most once a walk, before the first rule that needs an address.
	Resolve()
	// Accept says what to do with a rule that holds, by its target.
	Accept(target string) Verdict
}

// Verdict is what a Visitor makes of a target.
type Verdict uint8

// The verdicts.
const (
	Take  Verdict = iota // the walk ends here
	Next                 // go on as if the rule did not hold
	Leave                // leave this sub-rule and go on behind it; in the list that the walk began with, Next
)

// Table is the rules in force.
type Table struct {
	main *List
	subs map[string]*List
}

// List is one ordered list of rules: `rules:` or one of `sub-rules:`.
type List struct {
	Name  string // "" for the main one
	rules []*Rule
}

// Rule is one line. Its fields are fixed; hits and misses are counted.
type Rule struct {
	Index   int    // in its list, from 0
	Label   string // the type as the REST API spells it
	Payload string // the payload as the REST API spells it
	Target  string // for SUB-RULE, the name of the list

	cond    condition
	needIP  bool
	sub     *List // SUB-RULE only
	disable atomic.Bool

	Hits, Misses  atomic.Uint64
	HitAt, MissAt atomic.Int64 // Unix nanoseconds, 0 for never
}

// condition is what a line asks of a flow.
type condition interface {
	match(f *framework.Flow, v Visitor) bool
}

// Main is the list that flows walk unless their inbound names another.
func (t *Table) Main() *List { return t.main }

// Sub is a list of `sub-rules:`, nil when there is none of that name.
func (t *Table) Sub(name string) *List { return t.subs[name] }

// Rules are the lines in order. The slice is not to be changed.
func (l *List) Rules() []*Rule { return l.rules }

// Disabled says whether the rule is switched off.
func (r *Rule) Disabled() bool { return r.disable.Load() }

// SetDisabled switches the rule off or on. A disabled rule never holds.
func (r *Rule) SetDisabled(off bool) { r.disable.Store(off) }

// Match walks l. It returns the rule that decided and its target, or nil when
// no rule did. For a match inside a sub-rule the rule is the SUB-RULE line.
func (l *List) Match(f *framework.Flow, v Visitor, now time.Time) (*Rule, string) {
	w := walk{flow: f, visitor: v, now: now.UnixNano()}
	r, target, _ := w.list(l)
	return r, target
}

// walk is one evaluation.
type walk struct {
	flow     *framework.Flow
	visitor  Visitor
	now      int64
	resolved bool
	depth    int // how many SUB-RULE lines are open
}

func (w *walk) list(l *List) (*Rule, string, bool) {
	for _, r := range l.rules {
		if r.disable.Load() {
			continue
		}
		target, verdict := w.rule(r)
		switch verdict {
		case Take:
			r.Hits.Add(1)
			r.HitAt.Store(w.now)
			return r, target, true
		case Leave:
			if w.depth > 0 {
				return nil, "", false
			}
		}
		r.Misses.Add(1)
		r.MissAt.Store(w.now)
	}
	return nil, "", false
}

// rule tests one line; a line that does not hold is Next.
func (w *walk) rule(r *Rule) (string, Verdict) {
	if r.needIP && !w.resolved {
		w.resolved = true
		w.visitor.Resolve()
	}
	if !r.cond.match(w.flow, w.visitor) {
		return "", Next
	}
	if r.sub != nil {
		w.depth++
		_, target, ok := w.list(r.sub)
		w.depth--
		if ok {
			return target, Take
		}
		return "", Next
	}
	return r.Target, w.visitor.Accept(r.Target)
}

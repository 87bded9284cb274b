// Package route turns a flow into the name of an outbound or group: the first
// rule of an ordered list that holds decides. Rules that refer to other rules
// (AND, OR, NOT, SUB-RULE) are its own; all others are plugins.
//
// A list is compiled into an index, so that a flow asks few of its rules: see
// walk. What comes out is what a plain scan in order gives, which scan.go has,
// the names that are resolved and the counters included.
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
	Name   string // "" for the main one
	rules  []*Rule
	index  *index
	ends   ends
	counts history
}

// Rule is one line. Its fields are fixed; hits are counted.
type Rule struct {
	Index   int    // in its list, from 0
	Label   string // the type as the REST API spells it
	Payload string // the payload as the REST API spells it
	Target  string // for SUB-RULE, the name of the list

	indexable
	cond    condition
	needIP  bool
	list    *List
	sub     *List // SUB-RULE only
	disable atomic.Bool

	Hits  atomic.Uint64 // walks that ended with this rule deciding
	HitAt atomic.Int64  // Unix nanoseconds, 0 for never
	left  ends          // walks of a sub-rule that this rule ended without deciding
}

// condition is what a line asks of a flow.
type condition interface {
	match(f *framework.Flow, facts framework.Facts) bool
}

// Main is the list that flows walk unless their inbound names another.
func (t *Table) Main() *List { return t.main }

// Sub is a list of `sub-rules:`, nil when there is none of that name.
func (t *Table) Sub(name string) *List { return t.subs[name] }

// Rules are the lines in order. The slice is not to be changed.
func (l *List) Rules() []*Rule { return l.rules }

// Match walks l. It returns the rule that decided and its target, or nil when
// no rule did. For a match inside a sub-rule the rule is the SUB-RULE line.
func (l *List) Match(f *framework.Flow, v Visitor, now time.Time) (*Rule, string) {
	w := walk{flow: f, visitor: v, facts: v, now: now.UnixNano()}
	r, target, _ := w.list(l)
	return r, target
}

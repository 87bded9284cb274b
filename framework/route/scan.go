package route

import "github.com/culvert-proxy/culvert/framework"

// scan is what a list means: its rules are tested in order. Match takes a
// shorter way to the same result; a scan is for explaining, and for the tests
// that compare the two. It counts nothing.
type scan struct {
	flow     *framework.Flow
	visitor  Visitor
	see      func(event) // may be nil
	resolved bool
	depth    int
}

// event is one thing that a scan comes by.
type event struct {
	what  outcome
	list  *List
	rule  *Rule // nil at the end of a list
	depth int
}

type outcome uint8

const (
	disabled outcome = iota // the rule is switched off
	resolved                // the name was resolved, for the rule
	entered                 // the condition of a SUB-RULE holds
	missed                  // the rule does not hold, or what it leads to found nothing
	passed                  // the rule holds and its target is passed over
	left                    // the rule holds and the sub-rule is left
	taken                   // the rule decides
	ended                   // no rule decided
)

func (s *scan) saw(what outcome, l *List, r *Rule) {
	if s.see != nil {
		s.see(event{what, l, r, s.depth})
	}
}

func (s *scan) list(l *List) (*Rule, string, bool) {
	for _, r := range l.rules {
		if r.disable.Load() {
			s.saw(disabled, l, r)
			continue
		}
		target, what := s.rule(l, r)
		s.saw(what, l, r)
		switch what {
		case taken:
			return r, target, true
		case left:
			return nil, "", false
		}
	}
	s.saw(ended, l, nil)
	return nil, "", false
}

func (s *scan) rule(l *List, r *Rule) (string, outcome) {
	if r.needIP && !s.resolved {
		s.resolved = true
		s.visitor.Resolve()
		s.saw(resolved, l, r)
	}
	if !r.cond.match(s.flow, s.visitor) {
		return "", missed
	}
	if r.sub != nil {
		s.saw(entered, l, r)
		s.depth++
		_, target, ok := s.list(r.sub)
		s.depth--
		if ok {
			return target, taken
		}
		return "", missed
	}
	switch s.visitor.Accept(r.Target) {
	case Take:
		return r.Target, taken
	case Leave:
		if s.depth > 0 {
			return r.Target, left
		}
	}
	return r.Target, passed
}

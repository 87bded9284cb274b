// Package process has the rules that look at the program that opened a flow:
// PROCESS-NAME and PROCESS-PATH with their regular expressions and wildcards,
// and UID (config-rules.md §2). The program is looked up at the first such
// rule that a flow meets, and never where find-process-mode is off.
package process

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/pattern"
)

var (
	errEmpty = errors.New("payload is empty")
	errNoUID = errors.New("UID is a rule for Linux and Android: users have no number here")
)

// Descriptors describes the rules of the family.
func Descriptors() []framework.Descriptor {
	beta := framework.WithStability(framework.Beta)
	return []framework.Descriptor{
		framework.NewRule("PROCESS-NAME", "ProcessName", equal(name), beta,
			framework.WithSummary("the program's file has this name")),
		framework.NewRule("PROCESS-PATH", "ProcessPath", equal(path), beta,
			framework.WithSummary("the program's file is this one")),
		framework.NewRule("PROCESS-NAME-REGEX", "ProcessNameRegex", regex(name), beta,
			framework.WithSummary("the name of the program's file contains a match of this regular expression")),
		framework.NewRule("PROCESS-PATH-REGEX", "ProcessPathRegex", regex(path), beta,
			framework.WithSummary("the path of the program's file contains a match of this regular expression")),
		framework.NewRule("PROCESS-NAME-WILDCARD", "ProcessNameWildcard", wildcard(name), beta,
			framework.WithSummary("the name of the program's file fits this pattern of * and ?")),
		framework.NewRule("PROCESS-PATH-WILDCARD", "ProcessPathWildcard", wildcard(path), beta,
			framework.WithSummary("the path of the program's file fits this pattern of * and ?")),
		framework.NewRule("UID", "Uid", newUser, beta,
			framework.WithSummary("the program runs as one of these users")),
	}
}

// part is what of a program a rule looks at.
type part func(framework.Process) string

func name(p framework.Process) string { return p.Name() }

func path(p framework.Process) string { return p.Path }

// of is the part of the flow's program; false when that is not known.
func (of part) of(facts framework.Facts) (string, bool) {
	pf, ok := facts.(framework.ProcessFacts)
	if !ok {
		return "", false
	}
	p, ok := pf.Process()
	if !ok || p.Path == "" {
		return "", false
	}
	return of(p), true
}

// text is a rule that compares with a text in any case.
type text struct {
	part
	want string
}

func equal(p part) func(framework.RuleArgs) (framework.Rule, error) {
	return func(a framework.RuleArgs) (framework.Rule, error) {
		if a.Payload == "" {
			return nil, errEmpty
		}
		return text{p, a.Payload}, nil
	}
}

// Match implements framework.Rule.
func (r text) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	got, ok := r.of(facts)
	return ok && strings.EqualFold(got, r.want), nil
}

// expression is a rule that searches for a regular expression.
type expression struct {
	part
	*pattern.Regexp
}

func regex(p part) func(framework.RuleArgs) (framework.Rule, error) {
	return func(a framework.RuleArgs) (framework.Rule, error) {
		re, err := pattern.Compile(a.Payload)
		return expression{p, re}, err
	}
}

// Match implements framework.Rule.
func (r expression) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	got, ok := r.of(facts)
	return ok && r.Regexp.Match(got), nil
}

// shape is a rule that compares with a pattern of * and ?.
type shape struct {
	part
	want string // in lower case
}

func wildcard(p part) func(framework.RuleArgs) (framework.Rule, error) {
	return func(a framework.RuleArgs) (framework.Rule, error) {
		if a.Payload == "" {
			return nil, errEmpty
		}
		return shape{p, strings.ToLower(a.Payload)}, nil
	}
}

// Match implements framework.Rule.
func (r shape) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	got, ok := r.of(facts)
	return ok && pattern.Wildcard(r.want, strings.ToLower(got)), nil
}

// user is a rule about the number of the program's user.
type user []span

// span is numbers, both ends included.
type span struct{ low, high int64 }

// newUser reads numbers and ranges that a slash separates. It refuses the rule
// where it cannot hold.
func newUser(a framework.RuleArgs) (framework.Rule, error) {
	if runtime.GOOS != "linux" && runtime.GOOS != "android" {
		return nil, errNoUID
	}
	var r user
	for piece := range strings.FieldsFuncSeq(a.Payload, func(c rune) bool { return c == '/' || c == ',' }) {
		from, to, ranged := strings.Cut(strings.TrimSpace(piece), "-")
		if !ranged {
			to = from
		}
		low, err := strconv.ParseUint(strings.TrimSpace(from), 10, 32)
		high, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 32)
		if err != nil || err2 != nil || low > high {
			return nil, fmt.Errorf("%q is neither the number of a user nor a range of them", piece)
		}
		r = append(r, span{int64(low), int64(high)})
	}
	if len(r) == 0 {
		return nil, errEmpty
	}
	return r, nil
}

// Match implements framework.Rule.
func (r user) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	pf, ok := facts.(framework.ProcessFacts)
	if !ok {
		return false, nil
	}
	p, ok := pf.Process()
	if !ok {
		return false, nil
	}
	for _, s := range r {
		if s.low <= p.UID && p.UID <= s.high {
			return true, nil
		}
	}
	return false, nil
}

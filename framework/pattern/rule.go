package pattern

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// Regexp is a regular expression that is searched for in a text. It is safe
// for concurrent use.
//
// The syntax is RE2's, whose time grows with the text alone. What only .NET's
// has, look-around and back-references, is run by an engine that tries ways
// again and may take very long: there a search ends after a limit and finds
// nothing.
type Regexp struct {
	re2    *regexp.Regexp
	dotnet *regexp2.Regexp
	steps  int // of re2
}

const (
	// fastProgram and maxProgram bound an expression once it is compiled, in
	// steps. Measured: 1,000 take 2 ms on a name of 253 bytes at worst. A list
	// of some hundred words is longer and yet fast; it passes with a warning.
	fastProgram = 1000
	maxProgram  = 10_000
	// ruleLimit bounds a search by the second engine, and period is how often
	// it looks at the time; chosen: a match takes microseconds.
	ruleLimit = time.Millisecond
	period    = time.Millisecond / 2
)

// Compile makes a Regexp. The error says what is wrong in a user's words.
func Compile(expr string) (*Regexp, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, fmt.Errorf("regular expression is empty")
	}
	parsed, err := syntax.Parse("(?i)"+expr, syntax.Perl)
	if err != nil {
		return compileDotNet(expr, err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	if len(prog.Inst) > maxProgram {
		return nil, fmt.Errorf("regular expression %.40q… is too large: %d steps, the limit is %d", expr, len(prog.Inst), maxProgram)
	}
	re, err := regexp.Compile("(?i)" + expr)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %s", expr, problem(err))
	}
	return &Regexp{re2: re, steps: len(prog.Inst)}, nil
}

// compileDotNet tries the second engine on what RE2 does not know. Where it
// does not know it either, RE2's reason is told.
func compileDotNet(expr string, why error) (*Regexp, error) {
	e, ok := why.(*syntax.Error)
	if !ok || e.Code != syntax.ErrInvalidPerlOp && e.Code != syntax.ErrInvalidNamedCapture && e.Code != syntax.ErrInvalidEscape {
		return nil, fmt.Errorf("regular expression %q: %s", expr, problem(why))
	}
	re, err := compileSecond(expr, regexp2.IgnoreCase, ruleLimit)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %s", expr, problem(why))
	}
	return &Regexp{dotnet: re}, nil
}

// problem says what is wrong with an expression.
func problem(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return e.Code.String() + ": " + e.Expr
	}
	return err.Error()
}

// Match says whether the expression is found in s. A search that takes longer
// than its limit finds nothing.
func (r *Regexp) Match(s string) bool {
	if r.re2 != nil {
		return r.re2.MatchString(s)
	}
	ok, err := r.dotnet.MatchString(s)
	return ok && err == nil
}

// Warning is what to tell the writer of a slow expression, "" for others.
func (r *Regexp) Warning() string {
	switch {
	case r.steps > fastProgram:
		return fmt.Sprintf("a large regular expression may take long: it has %d steps, up to %d take 2 ms at worst", r.steps, fastProgram)
	case r.dotnet == nil:
		return ""
	}
	return fmt.Sprintf("look-around and back-references are slow: a search that takes longer than %v does not match", ruleLimit)
}

// Wildcard says whether pattern fits the whole of s: * is any run of
// characters, none included, ? is one character. Both are in lower case. It
// goes back to the last * only, which is enough, and so takes no more than the
// product of the lengths.
func Wildcard(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last *, and where its run ends in s
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

package domain

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// pattern is a regular expression that is searched for in the host, in any
// case. The syntax is RE2's: the peer's look-around and back-references are
// refused, since they can take time that grows with a power of the host.
type pattern struct{ *regexp.Regexp }

func newRegex(a framework.RuleArgs) (framework.Rule, error) {
	if strings.TrimSpace(a.Payload) == "" {
		return nil, errEmpty
	}
	re, err := regexp.Compile("(?i)" + a.Payload)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %s", a.Payload, problem(err))
	}
	return pattern{re}, nil
}

// problem says what is wrong with an expression in a user's words.
func problem(err error) string {
	e, ok := err.(*syntax.Error)
	switch {
	case !ok:
		return err.Error()
	case e.Code == syntax.ErrInvalidPerlOp, e.Code == syntax.ErrInvalidNamedCapture:
		return "look-around and its like are not supported: " + e.Expr
	case e.Code == syntax.ErrInvalidEscape:
		return "escape or back-reference " + e.Expr + " is not supported"
	}
	return e.Code.String() + ": " + e.Expr
}

// Match implements framework.Rule.
func (r pattern) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	host := facts.Host()
	return host != "" && r.MatchString(host), nil
}

// wildcard is a pattern for the whole host: * is any run of characters, dots
// and none included, ? is one character.
type wildcard struct{ name }

func newWildcard(a framework.RuleArgs) (framework.Rule, error) {
	n, err := parse(a.Payload)
	return wildcard{n}, err
}

// Match implements framework.Rule.
func (r wildcard) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	host := facts.Host()
	return host != "" && wild(string(r.name), host), nil
}

// wild goes back to the last * only, which is enough, and so takes no more
// than the product of the lengths.
func wild(pattern, s string) bool {
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

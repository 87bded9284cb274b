package domain

import (
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/pattern"
)

// expression is a regular expression that is searched for in the host, in any
// case.
type expression struct{ *pattern.Regexp }

func newRegex(a framework.RuleArgs) (framework.Rule, error) {
	re, err := pattern.Compile(a.Payload)
	return expression{re}, err
}

// Match implements framework.Rule.
func (r expression) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	host := facts.Host()
	return host != "" && r.Regexp.Match(host), nil
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
	return host != "" && pattern.Wildcard(string(r.name), host), nil
}

// Package domain has the rules that look at the host name of a flow: DOMAIN,
// DOMAIN-SUFFIX, DOMAIN-KEYWORD, DOMAIN-REGEX and DOMAIN-WILDCARD
// (config-rules.md §2).
package domain

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"github.com/culvert-proxy/culvert/framework"
)

var errEmpty = errors.New("payload is empty")

// Descriptors describes the rules of the family.
func Descriptors() []framework.Descriptor {
	beta := framework.WithStability(framework.Beta)
	return []framework.Descriptor{
		framework.NewRule("DOMAIN", "Domain", newExact, beta,
			framework.WithSummary("the host is this name")),
		framework.NewRule("DOMAIN-SUFFIX", "DomainSuffix", newSuffix, beta,
			framework.WithSummary("the host is this name or below it")),
		framework.NewRule("DOMAIN-KEYWORD", "DomainKeyword", newKeyword, beta,
			framework.WithSummary("the host contains this text")),
		framework.NewRule("DOMAIN-REGEX", "DomainRegex", newRegex, beta,
			framework.WithSummary("the host contains a match of this regular expression")),
		framework.NewRule("DOMAIN-WILDCARD", "DomainWildcard", newWildcard, beta,
			framework.WithSummary("the host fits this pattern of * and ?")),
	}
}

// name is a payload in the form that hosts have: lower case, punycode.
type name string

// PayloadText implements framework.PayloadTexter.
func (n name) PayloadText() string { return string(n) }

func parse(payload string) (name, error) {
	s := strings.ToLower(strings.TrimSpace(payload))
	if s == "" {
		return "", errEmpty
	}
	ascii, err := idna.Punycode.ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", payload, err)
	}
	return name(ascii), nil
}

// parseHost is parse without the dots that a host does not have at its ends.
func parseHost(payload string) (name, error) {
	n, err := parse(payload)
	if err != nil {
		return "", err
	}
	n = name(strings.Trim(string(n), "."))
	if n == "" {
		return "", errEmpty
	}
	return n, nil
}

type exact struct{ name }

func newExact(a framework.RuleArgs) (framework.Rule, error) {
	n, err := parseHost(a.Payload)
	return exact{n}, err
}

// Match implements framework.Rule.
func (r exact) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	return facts.Host() == string(r.name), nil
}

// Index implements framework.Indexer.
func (r exact) Index() []framework.Key {
	return []framework.Key{{Fact: framework.FactHost, Name: string(r.name)}}
}

type suffix struct{ name }

func newSuffix(a framework.RuleArgs) (framework.Rule, error) {
	n, err := parseHost(a.Payload)
	return suffix{n}, err
}

// Match implements framework.Rule.
func (r suffix) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	above, ok := strings.CutSuffix(facts.Host(), string(r.name))
	return ok && (above == "" || above[len(above)-1] == '.'), nil
}

// Index implements framework.Indexer.
func (r suffix) Index() []framework.Key {
	return []framework.Key{{Fact: framework.FactHostSuffix, Name: string(r.name)}}
}

type keyword struct{ name }

func newKeyword(a framework.RuleArgs) (framework.Rule, error) {
	n, err := parse(a.Payload)
	return keyword{n}, err
}

// Match implements framework.Rule.
func (r keyword) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	return strings.Contains(facts.Host(), string(r.name)), nil
}

package configs

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// CheckPattern checks the syntax of a domain pattern: labels joined by dots,
// * for any one label, + or a leading dot for any depth. Spaces inside are
// legal; a trailing dot and an empty label are not.
func CheckPattern(s string) error {
	if s == "" {
		return fmt.Errorf("domain pattern is empty")
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	switch {
	case unicode.IsSpace(first), unicode.IsSpace(last):
		return fmt.Errorf("domain pattern %q begins or ends with a space", s)
	case strings.HasSuffix(s, "."):
		return fmt.Errorf("domain pattern %q ends with a dot", s)
	case strings.Contains(strings.TrimPrefix(s, "."), ".."), strings.HasPrefix(s, ".."):
		return fmt.Errorf("domain pattern %q has an empty label", s)
	}
	return nil
}

// setPrefixes begin the elements of domain and IP lists that name sets.
var setPrefixes = [...]string{"geosite:", "geoip:", "rule-set:"}

// setOf is the prefix of an element that names sets, in lower case, and what
// follows it.
func setOf(s string) (prefix, names string, ok bool) {
	for _, p := range setPrefixes {
		if len(s) >= len(p) && strings.EqualFold(s[:len(p)], p) {
			return p, s[len(p):], true
		}
	}
	return "", "", false
}

// checkDomains checks the elements of the domain list at n, given decoded.
func checkDomains(n conf.Node, list []string) conf.Problems {
	var out conf.Problems
	for i, s := range list {
		if _, _, ok := setOf(s); ok {
			continue
		}
		if err := CheckPattern(s); err != nil {
			out = append(out, element(n, i).Errorf("%v", err))
		}
	}
	return out
}

// checkPrefixes checks the elements of the IP list at n, given decoded.
func checkPrefixes(n conf.Node, list []string) conf.Problems {
	var out conf.Problems
	for i, s := range list {
		if _, _, ok := setOf(s); ok {
			continue
		}
		if _, err := netip.ParsePrefix(s); err != nil {
			out = append(out, element(n, i).Errorf("want an IP address with a prefix length such as 10.0.0.0/8, got %q", s))
		}
	}
	return out
}

// element is the node of the element i of a decoded list. Null elements of
// the file are not in the list; a list of a variable has one place.
func element(n conf.Node, i int) conf.Node {
	for _, item := range n.Items() {
		if item.Kind() == conf.Null {
			continue
		}
		if i == 0 {
			return item
		}
		i--
	}
	return n
}

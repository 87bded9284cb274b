// Package pattern matches names against the regular expressions of users'
// files, which are of the .NET flavour: look-around, back references, and
// classes that know Unicode. What Go's linear matcher reads the same way is
// left to it; the rest goes to a backtracking one with a time limit.
//
// Pattern is for the names of proxies, as filters have it. Regexp and Wildcard
// are for rules: without regard to case, and fast enough for each flow.
package pattern

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/dlclark/regexp2"
)

// limit bounds one match; chosen: names are short, and a pattern that takes
// longer does not end.
const limit = 100 * time.Millisecond

// Pattern is a compiled expression. It is safe for concurrent use.
type Pattern struct {
	linear *regexp.Regexp
	dotNet *regexp2.Regexp
}

// Parse reads expressions that backticks separate; none in an empty text.
func Parse(text string) ([]Pattern, error) {
	if text == "" {
		return nil, nil
	}
	var list []Pattern
	for one := range strings.SplitSeq(text, "`") {
		p, err := compile(one)
		if err != nil {
			return nil, fmt.Errorf("bad regular expression %q: %w", one, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func compile(text string) (Pattern, error) {
	if !knowsUnicode(text) {
		if re, err := regexp.Compile(text); err == nil {
			return Pattern{linear: re}, nil
		}
	}
	re, err := compileSecond(text, regexp2.None, limit)
	return Pattern{dotNet: re}, err
}

// compileSecond makes an expression of the second engine. Both ways to it come
// through here, since the engine's clock is one for the program and may be set
// only before it runs for the first time.
func compileSecond(text string, opt regexp2.RegexOptions, limit time.Duration) (*regexp2.Regexp, error) {
	setClock()
	re, err := regexp2.Compile(text, opt)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = limit
	return re, nil
}

// setClock makes the engine look at the time often enough for the shortest
// limit; it is a guard of the library's own state.
var setClock = sync.OnceFunc(func() { regexp2.SetTimeoutCheckPeriod(period) })

// knowsUnicode says whether text has a class that is ASCII only in RE2.
func knowsUnicode(text string) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		if strings.IndexByte("wWdDsSbB", text[i]) >= 0 {
			return true
		}
	}
	return false
}

// Match says whether the expression is found in name. One that takes too long
// is not.
func (p Pattern) Match(name string) bool {
	if p.linear != nil {
		return p.linear.MatchString(name)
	}
	found, err := p.dotNet.MatchString(name)
	return err == nil && found
}

// Any says whether one of the expressions is found in name.
func Any(list []Pattern, name string) bool {
	for _, p := range list {
		if p.Match(name) {
			return true
		}
	}
	return false
}

package ruleset

import (
	"errors"
	"fmt"
	"strings"
)

// Line is one entry of a classical list: a rule without a target.
type Line struct {
	Type    string
	Payload string
	Params  []string // what follows the payload; a policy that stands there is harmless
	Number  int      // in the file, from 1
}

// greedy are the types whose payload may hold commas, so that it is all of the
// text behind the first.
var greedy = map[string]bool{"AND": true, "OR": true, "NOT": true, "DOMAIN-REGEX": true,
	"PROCESS-NAME-REGEX": true, "PROCESS-PATH-REGEX": true}

var (
	errNoPayload = errors.New("want TYPE,payload")
	errNotInSet  = errors.New("this type has no meaning in a rule set")
)

// parseLine splits an entry. Which types exist and what their payloads are is
// not known here.
func parseLine(s string) (Line, error) {
	typ, rest, ok := strings.Cut(s, ",")
	typ = strings.TrimSpace(typ)
	switch {
	case !ok || typ == "":
		return Line{}, errNoPayload
	case typ == "MATCH" || typ == "RULE-SET" || typ == "SUB-RULE":
		return Line{}, errNotInSet
	case typ != strings.ToUpper(typ):
		return Line{}, fmt.Errorf("type %q: types are in upper case", typ)
	}
	if greedy[typ] {
		return Line{Type: typ, Payload: strings.TrimSpace(rest)}, nil
	}
	payload, rest, more := strings.Cut(rest, ",")
	l := Line{Type: typ, Payload: strings.TrimSpace(payload)}
	if more {
		l.Params = strings.Split(rest, ",")
		for i, p := range l.Params {
			l.Params[i] = strings.TrimSpace(p)
		}
	}
	return l, nil
}

// String is the line as a file has it.
func (l Line) String() string {
	s := l.Type + "," + l.Payload
	if len(l.Params) > 0 {
		s += "," + strings.Join(l.Params, ",")
	}
	return s
}

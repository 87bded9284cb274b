package route

import (
	"errors"
	"fmt"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// plain is a rule plugin's verdict. A rule that fails does not hold.
type plain struct{ rule framework.Rule }

func (p plain) match(f *framework.Flow, facts framework.Facts) bool {
	ok, err := p.rule.Match(f, facts)
	return ok && err == nil
}

type allOf []condition

func (a allOf) match(f *framework.Flow, facts framework.Facts) bool {
	for _, c := range a {
		if !c.match(f, facts) {
			return false
		}
	}
	return true
}

type anyOf []condition

func (a anyOf) match(f *framework.Flow, facts framework.Facts) bool {
	for _, c := range a {
		if c.match(f, facts) {
			return true
		}
	}
	return false
}

type not struct{ condition }

func (n not) match(f *framework.Flow, facts framework.Facts) bool {
	return !n.condition.match(f, facts)
}

// logic compiles the payload of AND, OR and NOT.
func (b *builder) logic(typ, payload string) (compiled, error) {
	groups, err := split(payload)
	if err != nil {
		return compiled{}, err
	}
	if typ == "NOT" && len(groups) != 1 {
		return compiled{}, fmt.Errorf("NOT takes one condition in parentheses, not %d", len(groups))
	}
	out := compiled{label: typ}
	var children []compiled
	var conds []condition
	var texts []string
	for _, g := range groups {
		c, err := b.child(g)
		if err != nil {
			return compiled{}, err
		}
		children = append(children, c)
		conds = append(conds, c.cond)
		texts = append(texts, "("+c.label+","+c.text+")")
		out.needIP = out.needIP || c.needIP
	}
	switch typ {
	case "AND":
		out.cond, out.text, out.index = allOf(conds), "("+strings.Join(texts, " && ")+")", indexAll(children)
	case "OR":
		out.cond, out.text, out.index = anyOf(conds), "("+strings.Join(texts, " || ")+")", indexAny(children)
	case "NOT":
		out.cond, out.text, out.index = not{conds[0]}, "(!"+texts[0]+")", indexable{pure: children[0].index.pure}
	}
	return out, nil
}

// greedy are the types whose payload may hold commas, so that it is all of the
// text behind the first.
var greedy = map[string]bool{"AND": true, "OR": true, "NOT": true, "DOMAIN-REGEX": true,
	"PROCESS-NAME-REGEX": true, "PROCESS-PATH-REGEX": true}

// child compiles one condition of a logic rule: TYPE,payload[,params].
func (b *builder) child(text string) (compiled, error) {
	typ, rest, ok := strings.Cut(text, ",")
	if !ok {
		return compiled{}, fmt.Errorf("condition (%s): want TYPE,payload", text)
	}
	if typ == "MATCH" || typ == "SUB-RULE" {
		return compiled{}, fmt.Errorf("%s cannot stand inside another rule", typ)
	}
	payload, params := rest, []string(nil)
	if !greedy[typ] {
		fields := strings.Split(rest, ",")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		payload, params = fields[0], fields[1:]
	}
	c, err := b.condition(typ, payload, params)
	if err != nil {
		return compiled{}, fmt.Errorf("condition (%s): %w", text, err)
	}
	return c, nil
}

// maxDepth bounds the nesting of logic rules; chosen: far beyond what a person
// writes, far below what a stack holds.
const maxDepth = 64

var (
	errUnbalanced = errors.New("parentheses do not match")
	errEmpty      = errors.New("no condition in parentheses")
	errDepth      = fmt.Errorf("conditions nest deeper than %d", maxDepth)
)

// split returns the texts of the outermost pairs of parentheses. One pair that
// spans the whole text and holds other pairs is peeled first.
func split(payload string) ([]string, error) {
	groups, err := outermost(payload)
	if err != nil {
		return nil, err
	}
	if len(groups) == 1 && strings.HasPrefix(groups[0], "(") {
		if groups, err = outermost(groups[0]); err != nil {
			return nil, err
		}
	}
	for i, g := range groups {
		if groups[i] = strings.TrimSpace(g); groups[i] == "" {
			return nil, errEmpty
		}
	}
	if len(groups) == 0 {
		return nil, errEmpty
	}
	return groups, nil
}

func outermost(s string) ([]string, error) {
	var groups []string
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			if depth == 0 {
				start = i + 1
			}
			if depth++; depth > maxDepth {
				return nil, errDepth
			}
		case ')':
			if depth--; depth < 0 {
				return nil, errUnbalanced
			}
			if depth == 0 {
				groups = append(groups, s[start:i])
			}
		default:
			if depth == 0 && s[i] != ',' && s[i] != ' ' {
				return nil, fmt.Errorf("%q stands outside parentheses", s[i:])
			}
		}
	}
	if depth != 0 {
		return nil, errUnbalanced
	}
	return groups, nil
}

package route

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// Line is one rule line, split.
type Line struct {
	Type    string // in upper case
	Payload string
	Target  string
	Params  []string

	Never bool   // the line is there to keep its index; it never holds
	Label string // of a line that never holds
}

// Catalog finds rule types.
type Catalog interface {
	Lookup(framework.Kind, string) (framework.Descriptor, bool)
}

// LineError is what is wrong with one line.
type LineError struct {
	List  string // "" for the main list
	Index int
	Err   error
}

func (e *LineError) Error() string {
	if e.List == "" {
		return fmt.Sprintf("rules[%d]: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("sub-rules[%s][%d]: %v", e.List, e.Index, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// ErrUnknownType says that no rule type has that name.
type ErrUnknownType struct{ Type string }

func (e *ErrUnknownType) Error() string { return fmt.Sprintf("unknown rule type %q", e.Type) }

// Compile makes a Table of the main list and the sub-rules. All mistakes are
// returned; the Table is nil when there is one. Targets other than those of
// SUB-RULE are not looked up.
func Compile(main []Line, subs map[string][]Line, c Catalog) (*Table, []*LineError) {
	b := builder{catalog: c, table: &Table{subs: map[string]*List{}}}
	for name := range subs {
		b.table.subs[name] = &List{Name: name}
	}
	b.table.main = &List{}
	b.fill(b.table.main, main)
	for _, name := range slices.Sorted(maps.Keys(subs)) {
		b.fill(b.table.subs[name], subs[name])
	}
	b.findCycles(subs)
	b.spreadNeeds()
	if len(b.errs) > 0 {
		return nil, b.errs
	}
	for _, l := range b.table.subs {
		l.index = newIndex(l.rules)
	}
	b.table.main.index = newIndex(b.table.main.rules)
	return b.table, nil
}

type builder struct {
	catalog Catalog
	table   *Table
	errs    []*LineError
}

func (b *builder) fill(l *List, lines []Line) {
	for i, line := range lines {
		r, err := b.rule(line)
		if err != nil {
			b.errs = append(b.errs, &LineError{l.Name, i, err})
			continue
		}
		r.Index, r.list = i, l
		l.rules = append(l.rules, r)
	}
}

func (b *builder) rule(line Line) (*Rule, error) {
	if line.Never {
		return &Rule{Label: cmp.Or(line.Label, line.Type), Payload: line.Payload, Target: line.Target, cond: anyOf{}, indexable: indexAny(nil)}, nil
	}
	if line.Type != "SUB-RULE" {
		c, err := b.condition(line.Type, line.Payload, line.Params)
		if err != nil {
			return nil, err
		}
		return &Rule{Label: c.label, Payload: c.text, Target: line.Target, cond: c.cond, needIP: c.needIP, indexable: c.index}, nil
	}
	groups, err := split(line.Payload)
	if err != nil {
		return nil, err
	}
	if len(groups) != 1 {
		return nil, fmt.Errorf("SUB-RULE takes one condition in parentheses, not %d", len(groups))
	}
	c, err := b.child(groups[0])
	if err != nil {
		return nil, err
	}
	sub := b.table.subs[line.Target]
	if sub == nil {
		return nil, fmt.Errorf("sub-rule %q is not defined", line.Target)
	}
	return &Rule{Label: "SubRules", Payload: line.Payload, Target: line.Target, cond: c.cond, needIP: c.needIP, indexable: c.index, sub: sub}, nil
}

// compiled is a condition and what lists show of it.
type compiled struct {
	cond        condition
	label, text string
	needIP      bool
	index       indexable
}

func (b *builder) condition(typ, payload string, params []string) (compiled, error) {
	switch typ {
	case "AND", "OR", "NOT":
		return b.logic(typ, payload)
	}
	d, ok := b.catalog.Lookup(framework.KindRule, typ)
	if !ok {
		return compiled{}, &ErrUnknownType{typ}
	}
	args := framework.RuleArgs{Payload: payload, Params: params}
	inst, err := framework.Build[framework.Rule](context.Background(), d, nil, argsSource(args))
	if err != nil {
		return compiled{}, err
	}
	c := compiled{cond: plain{inst}, label: d.Label, text: payload, index: indexRule(inst)}
	if t, ok := inst.(framework.PayloadTexter); ok {
		c.text = t.PayloadText()
	}
	c.needIP = d.Has(framework.CapNeedIP) && !slices.Contains(params, "no-resolve") && !slices.Contains(params, "src")
	return c, nil
}

// argsSource is a Source over arguments that are decoded already.
type argsSource framework.RuleArgs

func (a argsSource) Decode(into any) error {
	p, ok := into.(*framework.RuleArgs)
	if !ok {
		return fmt.Errorf("a rule decodes into RuleArgs, not %T", into)
	}
	*p = framework.RuleArgs(a)
	return nil
}

// findCycles reports sub-rules that lead back to themselves, with the path.
func (b *builder) findCycles(subs map[string][]Line) {
	state := map[*List]int{} // 1 on the path, 2 done
	var visit func(l *List, path []string) bool
	visit = func(l *List, path []string) bool {
		state[l] = 1
		defer func() { state[l] = 2 }()
		path = append(path, l.Name)
		for _, r := range l.rules {
			if r.sub == nil || state[r.sub] == 2 {
				continue
			}
			if state[r.sub] == 1 {
				at := slices.Index(path, r.sub.Name)
				loop := strings.Join(append(slices.Clone(path[at:]), r.sub.Name), " → ")
				b.errs = append(b.errs, &LineError{l.Name, r.Index, fmt.Errorf("sub-rules form a cycle: %s", loop)})
				return false
			}
			if !visit(r.sub, path) {
				return false
			}
		}
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(subs)) {
		if l := b.table.subs[name]; state[l] == 0 && !visit(l, nil) {
			return
		}
	}
}

// spreadNeeds marks a SUB-RULE line as needing an address when a rule inside
// its list does, since resolving happens before the line is tested.
func (b *builder) spreadNeeds() {
	if len(b.errs) > 0 {
		return
	}
	done := map[*List]bool{}
	var needs func(l *List) bool
	needs = func(l *List) bool {
		if need, ok := done[l]; ok {
			return need
		}
		any := false
		for _, r := range l.rules {
			if r.sub != nil && needs(r.sub) {
				r.needIP = true
			}
			any = any || r.needIP
		}
		done[l] = any
		return any
	}
	needs(b.table.main)
	for _, l := range b.table.subs {
		needs(l)
	}
}

package route

import "github.com/culvert-proxy/culvert/framework"

// walk is one evaluation. In each list it goes from one rule that may hold to
// the next; those between are neither asked nor touched.
type walk struct {
	flow     *framework.Flow
	visitor  Visitor
	facts    framework.Facts // the visitor
	now      int64
	resolved bool
	depth    int // how many SUB-RULE lines are open
}

func (w *walk) list(l *List) (*Rule, string, bool) {
	c := cursor{index: l.index}
	copy(c.bounds[:], l.index.lows)
	for {
		n := w.next(l, &c)
		if n == none {
			l.ends.add(w.now)
			return nil, "", false
		}
		r := l.rules[n]
		target, verdict := w.rule(r)
		switch {
		case verdict == Take:
			r.Hits.Add(1)
			r.HitAt.Store(w.now)
			return r, target, true
		case verdict == Leave && w.depth > 0:
			r.left.add(w.now)
			return nil, "", false
		}
	}
}

// rule tests one line; a line that does not hold is Next.
func (w *walk) rule(r *Rule) (string, Verdict) {
	if !r.exact && !r.cond.match(w.flow, w.facts) {
		return "", Next
	}
	if r.sub != nil {
		w.depth++
		_, target, ok := w.list(r.sub)
		w.depth--
		if ok {
			return target, Take
		}
		return "", Next
	}
	return r.Target, w.visitor.Accept(r.Target)
}

// next is the next enabled rule of l that may hold, else none. The name is
// resolved when the walk comes to a rule that needs an address, whether that
// rule can hold or not: until then rules on the address do not hold, from then
// on they may.
func (w *walk) next(l *List, c *cursor) int32 {
	for {
		n, in := c.lowest()
		if !w.resolved {
			if need := c.need(l.rules); need <= n && need != none {
				w.resolved = true
				w.visitor.Resolve()
				c.addressFrom(need)
				continue
			}
		}
		switch {
		case n == none:
			return none
		case in >= 0 && c.looked&(1<<in) == 0:
			c.bounds[in] = c.index.tables[in].next(w.flow, w.facts, n)
			c.looked |= 1 << in
			continue
		}
		c.pass(n)
		if !l.rules[n].disable.Load() {
			return n
		}
	}
}

// cursor is how far a walk is in one list. Of each table it keeps a rule number
// below which none of the table's rules holds that was not passed; looking into
// the table turns the bound into a rule that holds. A table is looked into only
// when its bound is the lowest, so that a walk that ends early leaves the
// tables of later rules alone.
type cursor struct {
	index  *index
	bounds [maxTables]int32 // by table
	looked uint16           // a bit for each table whose bound is a rule that holds, or none
	passed int32            // all rules below are done
	asked  int              // how many of index.asked are done
	needs  int              // how many of index.needs are done
}

// lowest is the lowest bound and its table, which is -1 for a rule that is in
// none.
func (c *cursor) lowest() (rule int32, in int) {
	rule, in = none, -1
	if c.asked < len(c.index.asked) {
		rule = c.index.asked[c.asked]
	}
	for i := range c.index.tables {
		if c.bounds[i] < rule {
			rule, in = c.bounds[i], i
		}
	}
	return rule, in
}

// need is the next enabled rule that needs an address, else none.
func (c *cursor) need(rules []*Rule) int32 {
	for ; c.needs < len(c.index.needs); c.needs++ {
		n := c.index.needs[c.needs]
		if n >= c.passed && !rules[n].disable.Load() {
			return n
		}
	}
	return none
}

// addressFrom says that the address is known from rule n on.
func (c *cursor) addressFrom(n int32) {
	c.passed = n
	if i := c.index.byIP; i >= 0 {
		c.bounds[i] = max(n, c.index.lows[i])
		c.looked &^= 1 << i
	}
}

// pass moves all bounds behind rule n, which is the lowest.
func (c *cursor) pass(n int32) {
	c.passed = n + 1
	if c.asked < len(c.index.asked) && c.index.asked[c.asked] == n {
		c.asked++
	}
	for i := range c.index.tables {
		if c.bounds[i] == n {
			c.bounds[i] = n + 1
			c.looked &^= 1 << i
		}
	}
}

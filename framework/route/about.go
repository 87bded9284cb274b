package route

import "github.com/culvert-proxy/culvert/framework"

// Size is how many entries the rule's data has, -1 for a rule without such
// data.
func (r *Rule) Size() int {
	if p, ok := r.cond.(plain); ok {
		if s, ok := p.rule.(framework.Sizer); ok {
			return s.Size()
		}
	}
	return -1
}

// Warnings is what the rule and the rules in its conditions have to tell the
// writer of the line.
func (r *Rule) Warnings() []string { return warnings(r.cond, nil) }

func warnings(c condition, out []string) []string {
	switch c := c.(type) {
	case plain:
		if w, ok := c.rule.(framework.Warner); ok && w.Warning() != "" {
			out = append(out, w.Warning())
		}
	case allOf:
		for _, one := range c {
			out = warnings(one, out)
		}
	case anyOf:
		for _, one := range c {
			out = warnings(one, out)
		}
	case not:
		out = warnings(c.condition, out)
	}
	return out
}

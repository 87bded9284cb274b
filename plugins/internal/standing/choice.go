package standing

import (
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Choice is a member that a group worked out, with what it was made from: it
// stands until that differs. A Choice is not written again.
type Choice struct {
	Name  string  // the pick
	Stay  string  // the member that the group keeps to, its pin aside
	Pin   *string // nil for none; compared by identity
	Marks *Marks
	At    time.Time

	changes uint64
	until   time.Time // zero: time changes nothing
}

// recheck is how often a choice under suspicions is made anew: they end with
// time. Chosen.
const recheck = 500 * time.Millisecond

// Begin is a Choice to be filled with Name and Stay. What m and r say is read
// after it, so that a change in between makes the choice stale, not wrong.
func Begin(m framework.Members, r *Record, pin *string) *Choice {
	c := &Choice{Pin: pin, Marks: r.Marks(), At: time.Now(), changes: m.Changes()}
	if settled := c.Marks.Settled(); settled.After(c.At) {
		c.until = c.At.Add(min(recheck, settled.Sub(c.At)))
	}
	return c
}

// Stands says whether c is still what Begin would lead to. It neither locks
// nor allocates; a nil Choice does not stand.
func (c *Choice) Stands(m framework.Members, r *Record, pin *string) bool {
	return c != nil && c.changes == m.Changes() && c.Marks == r.Marks() && c.Pin == pin &&
		(c.until.IsZero() || time.Now().Before(c.until))
}

// Standing is how a member stands when the choice is made.
func (c *Choice) Standing(m framework.Members, url, name string) Standing {
	return c.Marks.Of(name, m.Health(name, url), c.At)
}

// First is what a group uses when no member is alive: the first one that
// traffic did not just fail through, else the first.
func First(m framework.Members, url string, c *Choice) string {
	names := m.Names()
	for _, name := range names {
		if c.Standing(m, url, name) == Trusted {
			return name
		}
	}
	return names[0]
}

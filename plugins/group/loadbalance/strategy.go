package loadbalance

import (
	"math/rand/v2"
	"sync/atomic"
)

// tries is how often a hash is moved on before the members are searched in
// order, as in mihomo's adapter/outboundgroup/loadbalance.go.
const tries = 5

// byDestination sends all flows to one site to one member, for as long as the
// members stay.
func byDestination(v *view) int {
	key := destinationKey(v.flow)
	for range tries {
		if i := jump(key, len(v.names)); v.usable(i) {
			return i
		}
		key++
	}
	return -1
}

// turns is round-robin.
type turns struct{ next atomic.Uint32 }

// pick is the next usable member. A question moves nothing on.
func (t *turns) pick(v *view) int {
	n := uint32(len(v.names))
	from := t.next.Load()
	if v.real() {
		from = t.next.Add(1) - 1
	}
	for i := range n {
		if at := int((from%n + i) % n); v.usable(at) {
			if i > 0 && v.real() {
				t.next.CompareAndSwap(from+1, from+1+i) // the one behind a gap does not get the gap's flows too
			}
			return at
		}
	}
	return -1
}

// pick is the member of the session, else one at random.
func (s *sessions) pick(v *view) int {
	key := sessionKey(v.flow)
	if name, ok := s.get(key); ok {
		for i, have := range v.names {
			if have == name && v.usable(i) {
				return i
			}
		}
	}
	found := v.random()
	if found < 0 {
		found = v.first()
	}
	if v.real() {
		s.put(key, v.names[found])
	}
	return found
}

// random tries some members at random; -1 when none of them is usable.
func (v *view) random() int {
	for range tries {
		if i := rand.IntN(len(v.names)); v.usable(i) {
			return i
		}
	}
	return -1
}

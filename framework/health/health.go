// Package health tests whether nodes work and how long they take: it runs the
// tests, keeps what each found, and repeats them for groups. Nodes are
// reached through framework.Dialer; which nodes a group has, and what it makes
// of the results, is not known here.
package health

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// kept is how many results a node keeps, and how many for each URL; dashboards
// draw as many.
const kept = 10

// maxURLs is how many URLs a node keeps results of. Chosen: more than any file
// has groups with URLs of their own for one node, and a bound on what clients
// of the API can fill in; the URL whose last test is the oldest goes.
const maxURLs = 16

// Node keeps the results of one outbound or group. The zero Node is alive and
// untested. Its methods are safe for concurrent use; what they return is never
// written again.
type Node struct {
	mu    sync.Mutex // one writer
	state atomic.Pointer[state]
}

// state is replaced, not changed: the results of a node are read by each flow
// and written once in minutes.
type state struct {
	alive bool
	tests []framework.Tested // with any URL
	urls  map[string]framework.Health
}

// Alive is the outcome of the last test with any URL, true before the first.
func (n *Node) Alive() bool {
	s := n.state.Load()
	return s == nil || s.alive
}

// Tests are the last results with any URL, oldest first.
func (n *Node) Tests() []framework.Tested {
	if s := n.state.Load(); s != nil {
		return s.tests
	}
	return nil
}

// Health is what the tests with url found.
func (n *Node) Health(url string) framework.Health {
	s := n.state.Load()
	if s == nil {
		return framework.Health{Alive: true}
	}
	if h, ok := s.urls[url]; ok {
		return h
	}
	return framework.Health{Alive: s.alive}
}

// URLs are the results by URL.
func (n *Node) URLs() map[string]framework.Health {
	if s := n.state.Load(); s != nil {
		return s.urls
	}
	return nil
}

// record adds a result. delay is 0 for a test that failed. A status that was
// not expected makes the node dead for this URL only, as in mihomo's
// adapter/adapter.go.
func (n *Node) record(url string, at time.Time, delay time.Duration, expected bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := &state{urls: map[string]framework.Health{}}
	if old := n.state.Load(); old != nil {
		next.tests = old.tests
		maps.Copy(next.urls, old.urls)
	}
	next.alive = delay > 0
	next.tests = push(next.tests, framework.Tested{At: at, Delay: delay})
	if !expected {
		delay = 0
	}
	next.urls[url] = framework.Health{Alive: delay > 0, Tests: push(next.urls[url].Tests, framework.Tested{At: at, Delay: delay})}
	if len(next.urls) > maxURLs {
		delete(next.urls, oldest(next.urls))
	}
	n.state.Store(next)
}

// push returns a copy of tests with one more, the last ones only.
func push(tests []framework.Tested, one framework.Tested) []framework.Tested {
	if len(tests) == kept {
		tests = tests[1:]
	}
	return append(slices.Clip(tests), one)
}

// oldest is the URL whose last test is the longest ago.
func oldest(urls map[string]framework.Health) (url string) {
	var at time.Time
	for u, h := range urls {
		if last := h.Tests[len(h.Tests)-1].At; at.IsZero() || last.Before(at) {
			url, at = u, last
		}
	}
	return url
}

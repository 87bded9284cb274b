package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// canned answers each request after a while, in virtual time.
type canned struct {
	took          time.Duration
	dead          atomic.Bool
	dials         atomic.Int32
	running, most *atomic.Int32 // of several canned ones; nil: not counted
}

func (c *canned) DialStream(ctx context.Context, _ framework.Addr) (net.Conn, error) {
	c.dials.Add(1)
	if c.running != nil {
		n := c.running.Add(1)
		defer c.running.Add(-1)
		for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
		}
	}
	if c.dead.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(c.took):
		return &cannedConn{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *canned) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrUnsupported
}

type cannedConn struct {
	net.Conn
	left string
}

func (c *cannedConn) Write(b []byte) (int, error) {
	c.left += "HTTP/1.1 204 No Content\r\n\r\n"
	return len(b), nil
}

func (c *cannedConn) Read(b []byte) (int, error) {
	if c.left == "" {
		return 0, io.EOF
	}
	n := copy(b, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *cannedConn) SetDeadline(time.Time) error { return nil }
func (c *cannedConn) Close() error                { return nil }

// group is some nodes and a plan to watch them.
type group struct {
	nodes []*canned
	list  []Member
}

func newGroup(n int) *group {
	g := &group{}
	for i := range n {
		c := &canned{took: 100 * time.Millisecond}
		g.nodes = append(g.nodes, c)
		g.list = append(g.list, Member{Name: fmt.Sprint("n", i), Node: new(Node), Via: c})
	}
	return g
}

func (g *group) plan() Plan {
	return Plan{Spec: Spec{URL: "http://t.test/", Timeout: 5 * time.Second}, Interval: 300 * time.Second, MaxFailed: 5,
		Members: func() []Member { return g.list }}
}

// dials is how often each node was dialled.
func (g *group) dials() (n []int32) {
	for _, c := range g.nodes {
		n = append(n, c.dials.Load())
	}
	return n
}

// want checks how often each node was dialled by now.
func (g *group) want(t *testing.T, when string, each int32) {
	t.Helper()
	synctest.Wait()
	for i, n := range g.dials() {
		if n != each {
			t.Errorf("%s: node %d was dialled %d times, want %d", when, i, n, each)
		}
	}
}

func TestRoundsComeAtOnceAndThenEachInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(3)
		w := New(nil).Watch(g.plan())
		defer w.Close()

		time.Sleep(time.Second)
		g.want(t, "after a second", 1)
		time.Sleep(280 * time.Second)
		g.want(t, "before the interval", 1)
		time.Sleep(40 * time.Second)
		g.want(t, "after the interval", 2)
		time.Sleep(3000 * time.Second)
		if n := g.nodes[0].dials.Load(); n < 11 || n > 13 {
			t.Errorf("%d rounds in 11 intervals", n)
		}
	})
}

func TestLazyGroupIsTestedWhileItIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(2)
		p := g.plan()
		p.Lazy = true
		w := New(nil).Watch(p)
		defer w.Close()

		time.Sleep(2000 * time.Second)
		g.want(t, "unused", 1)
		w.Use()
		time.Sleep(time.Second)
		g.want(t, "used after rounds were left out", 2)
		time.Sleep(1000 * time.Second)
		n := g.nodes[0].dials.Load() // a round that came early found the group in use
		if n > 3 {
			t.Errorf("unused for long: %d rounds, want 2 or 3", n)
		}
		w.Use()
		time.Sleep(time.Second)
		g.want(t, "used again", n+1)
		for range 32 {
			time.Sleep(10 * time.Second)
			w.Use()
		}
		g.want(t, "used all the time", n+2)
	})
}

func TestGroupsShareTests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(20)
		tester := New(nil)
		for range 5 {
			defer tester.Watch(g.plan()).Close()
		}
		time.Sleep(10 * time.Second)
		g.want(t, "five groups", 1)

		other := g.plan()
		other.URL = "http://other.test/"
		defer tester.Watch(other).Close()
		time.Sleep(10 * time.Second)
		g.want(t, "another URL", 2)
	})
}

func TestFailedDialsForceTests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		errs []error
		want []int32 // dials of nodes 0 (which fails), 1 and 2, beyond the first round
	}{
		"refused: all":               {[]error{framework.ErrRefused}, []int32{1, 1, 1}},
		"a timeout: the member":      {[]error{framework.ErrTimeout}, []int32{1, 0, 0}},
		"five failures: all":         {[]error{framework.ErrTimeout, framework.ErrTimeout, framework.ErrAuth, framework.ErrTimeout, framework.ErrTimeout}, []int32{1, 1, 1}},
		"a success between":          {[]error{framework.ErrTimeout, framework.ErrTimeout, framework.ErrTimeout, nil, framework.ErrTimeout, framework.ErrTimeout}, []int32{1, 0, 0}},
		"no node's fault":            {[]error{framework.ErrRejected, framework.ErrUnsupported, errors.New("gone"), context.Canceled}, []int32{0, 0, 0}},
		"refused again and again":    {[]error{framework.ErrRefused, framework.ErrRefused, framework.ErrRefused}, []int32{1, 1, 1}},
		"a dial that works":          {[]error{nil}, []int32{0, 0, 0}},
		"a deadline of the dial too": {[]error{context.DeadlineExceeded}, []int32{1, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(3)
				w := New(nil).Watch(g.plan())
				defer w.Close()
				time.Sleep(10 * time.Second)
				for _, err := range c.errs {
					w.Dialled("n0", err)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				for i, n := range g.dials() {
					if n-1 != c.want[i] {
						t.Errorf("node %d: %d tests forced, want %d", i, n-1, c.want[i])
					}
				}
			})
		})
	}
}

func TestFailuresFarApartForceNoRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(2)
		w := New(nil).Watch(g.plan())
		defer w.Close()
		for range 10 {
			time.Sleep(6 * time.Second) // the window is the timeout, 5 s
			w.Dialled("n0", framework.ErrTimeout)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := g.dials(); n[0] != 11 || n[1] != 1 {
			t.Errorf("got %v tests, want 11 and 1", n)
		}
	})
}

func TestSelectGroupIsForcedToNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(1)
		p := g.plan()
		p.MaxFailed = 0
		w := New(nil).Watch(p)
		defer w.Close()
		time.Sleep(time.Second)
		w.Dialled("n0", framework.ErrRefused)
		time.Sleep(time.Second)
		g.want(t, "after a failed dial", 1)
	})
}

func TestChecksAtOnceAreOneRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(30)
		p := g.plan()
		p.Interval = 0
		w := New(nil).Watch(p)
		defer w.Close()
		done := make(chan time.Time, 10)
		for range 10 {
			go func() { // ends with the round
				w.Check(t.Context())
				done <- time.Now()
			}()
		}
		start := time.Now()
		for range 10 {
			if took := (<-done).Sub(start); took != 300*time.Millisecond {
				t.Errorf("took %v, want three times 100 ms", took)
			}
		}
		w.Check(t.Context())
		g.want(t, "and once more within a second", 1)
		time.Sleep(2 * time.Second)
		w.Check(t.Context())
		g.want(t, "two seconds later", 2)
	})
}

func TestTestsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most, all, mostOfAll atomic.Int32
		one := newGroup(100)
		for _, n := range one.nodes {
			n.running, n.most = &running, &most
		}
		tester := New(nil)
		w := tester.Watch(one.plan())
		time.Sleep(10 * time.Second)
		w.Close()
		if most.Load() != perRound {
			t.Errorf("one group: %d at once, want %d", most.Load(), perRound)
		}

		for range 10 {
			g := newGroup(100)
			for _, n := range g.nodes {
				n.running, n.most = &all, &mostOfAll
				n.dead.Store(true)
			}
			defer tester.Watch(g.plan()).Close()
		}
		time.Sleep(time.Second)
		if mostOfAll.Load() != maxBackground {
			t.Errorf("ten groups: %d at once, want %d", mostOfAll.Load(), maxBackground)
		}
		start := time.Now()
		by := newGroup(16)
		delays := tester.TestAll(t.Context(), by.list, by.plan().Spec)
		if took := time.Since(start); took != 100*time.Millisecond || len(delays) != 16 {
			t.Errorf("tests that somebody waits for took %v and found %d", took, len(delays))
		}
		for range 10 {
			g := newGroup(100)
			for _, n := range g.nodes {
				n.running, n.most = &all, &mostOfAll
			}
			go tester.TestAll(t.Context(), g.list, g.plan().Spec) // ends with its tests
		}
		time.Sleep(time.Minute)
		if mostOfAll.Load() > maxTests {
			t.Errorf("%d at once, want %d at most", mostOfAll.Load(), maxTests)
		}
	})
}

func TestCloseEndsTestsThatRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(20)
		for _, n := range g.nodes {
			n.dead.Store(true)
		}
		w := New(nil).Watch(g.plan())
		time.Sleep(time.Second)
		start := time.Now()

		w.Close()
		w.Close()

		if took := time.Since(start); took > 0 {
			t.Errorf("took %v", took)
		}
		w.Dialled("n0", framework.ErrRefused)
		w.Check(t.Context())
		if len(g.list[0].Node.Tests()) > 0 {
			t.Error("a test that was cut has a result")
		}
	})
}

// TestLargeRoundIsBounded is the figure for 5,000 nodes in ten groups of which
// a tenth is dead.
func TestLargeRoundIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tester := New(nil)
		start := time.Now()
		var groups []*group
		for range 10 {
			g := newGroup(500)
			for i, n := range g.nodes {
				n.dead.Store(i%10 == 0)
			}
			groups = append(groups, g)
			defer tester.Watch(g.plan()).Close()
		}
		for _, g := range groups {
			for len(g.list[499].Node.Tests()) == 0 {
				time.Sleep(time.Second)
			}
		}
		if took := time.Since(start); took > 90*time.Second {
			t.Errorf("took %v", took)
		} else {
			t.Logf("5,000 nodes, 500 of them silent: a round takes %v", took)
		}
	})
}

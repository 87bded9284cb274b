package urltest_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/health"
	"github.com/culvert-proxy/culvert/plugins/group/urltest"
)

// The simulated world: nodes that differ, fail, recover and are noisy.
const (
	nodes     = 50
	simulated = 2 * time.Hour
	interval  = 300 * time.Second
	flowEvery = 2 * time.Second
	meanUp    = 90 * time.Minute
	meanDown  = 10 * time.Minute
	dialLimit = 5 * time.Second // of a flow, as in framework/dispatch
	target    = "http://test.example/"
)

// world is a deterministic network in virtual time.
type world struct {
	begin time.Time
	nodes map[string]*simNode
	names []string
}

type simNode struct {
	base    time.Duration // round trip
	noise   float64       // of the logarithm of a round trip
	loss    float64       // part of dials that fail
	refuses bool          // when down: refuses, else is silent
	outages [][2]time.Duration
	begin   time.Time

	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

// lost says whether a dial fails though the node is up.
func (n *simNode) lost() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.Float64() < n.loss
}

func newWorld(seed uint64) *world {
	w := &world{begin: time.Now(), nodes: map[string]*simNode{}}
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range nodes {
		n := &simNode{
			base: time.Duration(40+rng.IntN(260)) * time.Millisecond, noise: .05 + .2*rng.Float64(), loss: .005,
			refuses: rng.IntN(2) == 0, rng: rand.New(rand.NewPCG(seed, uint64(i+2))), begin: w.begin,
		}
		if rng.IntN(5) == 0 {
			n.loss = .1
		}
		for at := time.Duration(0); at < simulated; {
			up := time.Duration(rng.ExpFloat64() * float64(meanUp))
			down := time.Duration(rng.ExpFloat64() * float64(meanDown))
			n.outages = append(n.outages, [2]time.Duration{at + up, at + up + down})
			at += up + down
		}
		name := fmt.Sprintf("node %02d", i)
		w.names, w.nodes[name] = append(w.names, name), n
	}
	return w
}

func (n *simNode) down() bool {
	now := time.Since(n.begin)
	for _, o := range n.outages {
		if now >= o[0] && now < o[1] {
			return true
		}
	}
	return false
}

// roundTrip is how long an exchange takes: noise, and one in 30 that stalls.
func (n *simNode) roundTrip() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := math.Exp(n.noise * n.rng.NormFloat64())
	if n.rng.IntN(30) == 0 {
		f *= 3
	}
	return time.Duration(float64(n.base) * f)
}

func (n *simNode) DialStream(ctx context.Context, _ framework.Addr) (net.Conn, error) {
	switch {
	case n.down() && n.refuses:
		return nil, framework.ErrRefused
	case n.down(), n.lost():
		<-ctx.Done()
		return nil, framework.ErrTimeout
	}
	time.Sleep(n.roundTrip())
	return &answer{n: n}, nil
}

func (n *simNode) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrUnsupported
}

// answer is a conn on which each request is answered after a round trip.
type answer struct {
	net.Conn
	n    *simNode
	left string
}

func (a *answer) Write(b []byte) (int, error) {
	a.left += "HTTP/1.1 204 No Content\r\n\r\n"
	return len(b), nil
}

func (a *answer) Read(b []byte) (int, error) {
	if a.left == "" {
		return 0, io.EOF
	}
	time.Sleep(a.n.roundTrip())
	n := copy(b, a.left)
	a.left = a.left[n:]
	return n, nil
}

func (a *answer) SetDeadline(time.Time) error { return nil }
func (a *answer) Close() error                { return nil }

// simMembers is framework.Members over tested nodes.
type simMembers struct {
	names  []string
	health map[string]*health.Node
	tester *health.Tester
}

func (m *simMembers) Names() []string { return m.names }
func (m *simMembers) Health(name, url string) framework.Health {
	return m.health[name].Health(url)
}
func (m *simMembers) CarriesPackets(string) bool { return true }
func (m *simMembers) Changes() uint64            { return m.tester.Changes() }

// plain is the policy to compare with: the fastest of those alive, the current
// one kept within tolerance, looked at every 10 seconds.
type plain struct {
	tolerance time.Duration
	current   string
	at        time.Time
}

func (p *plain) Pick(_ *framework.Flow, m framework.Members) (string, error) {
	if p.current != "" && time.Since(p.at) < 10*time.Second {
		return p.current, nil
	}
	p.at = time.Now()
	last := func(name string) time.Duration {
		if h := m.Health(name, target); len(h.Tests) > 0 && h.Alive {
			return h.Tests[len(h.Tests)-1].Delay
		}
		return 65535 * time.Millisecond
	}
	best := m.Names()[0]
	for _, name := range m.Names() {
		if m.Health(name, target).Alive && last(name) < last(best) {
			best = name
		}
	}
	if p.current == "" || !m.Health(p.current, target).Alive || last(p.current) > last(best)+p.tolerance {
		p.current = best
	}
	return p.current, nil
}

func (p *plain) Report(string, framework.Result) {}

// outcome is what a run came to.
type outcome struct {
	switches int
	dead     time.Duration // on a node that was down, in all
	longest  time.Duration // at a time
	failed   int           // flows that no node carried
	delay    time.Duration // sum of the nodes' round trips, of picks that were up
	flows    int
}

func (o *outcome) add(p outcome) {
	o.switches, o.dead, o.failed, o.flows = o.switches+p.switches, o.dead+p.dead, o.failed+p.failed, o.flows+p.flows
	o.delay += p.delay
	o.longest = max(o.longest, p.longest)
}

func (o outcome) String() string {
	hours := float64(o.flows) * flowEvery.Hours()
	return fmt.Sprintf("%.1f switches/h, %.0f s/h on a dead node, %.0f s at most at a time, %d of %d flows failed, %v mean round trip",
		float64(o.switches)/hours, o.dead.Seconds()/hours, o.longest.Seconds(), o.failed, o.flows, (o.delay / time.Duration(max(o.flows, 1))).Round(time.Millisecond))
}

// simulate runs flows through a group for a while.
func simulate(t *testing.T, seed uint64, g framework.Group) (o outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed)
		m := &simMembers{names: w.names, health: map[string]*health.Node{}, tester: health.New(nil)}
		var list []health.Member
		for _, name := range w.names {
			m.health[name] = new(health.Node)
			list = append(list, health.Member{Name: name, Node: m.health[name], Via: w.nodes[name]})
		}
		watch := m.tester.Watch(health.Plan{
			Spec:     health.Spec{URL: target, Timeout: 5 * time.Second},
			Interval: interval, MaxFailed: 5, Members: func() []health.Member { return list },
		})
		defer watch.Close()
		before, streak := "", time.Duration(0)
		for time.Since(w.begin) < simulated {
			time.Sleep(flowEvery)
			now, _ := g.Pick(&framework.Flow{}, m)
			o.flows++
			if before != "" && now != before {
				o.switches++
			}
			before = now
			if streak += flowEvery; !w.nodes[now].down() {
				o.delay += w.nodes[now].base
				streak = 0
			} else {
				o.dead += flowEvery
			}
			o.longest = max(o.longest, streak)
			if !flow(w, m, g, watch, now) {
				o.failed++
			}
		}
	})
	return o
}

// flow dials as framework/dispatch does: again, as long as the group names
// another member.
func flow(w *world, m *simMembers, g framework.Group, watch *health.Watch, name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	tried := map[string]bool{}
	for !tried[name] && ctx.Err() == nil {
		tried[name] = true
		began := time.Now()
		_, err := w.nodes[name].DialStream(ctx, framework.Addr{})
		watch.Use()
		g.Report(name, framework.Result{Network: framework.TCP, Took: time.Since(began), Err: err})
		watch.Dialled(name, err)
		if err == nil {
			return true
		}
		name, _ = g.Pick(&framework.Flow{}, m)
	}
	return false
}

// TestGroupSwitchesLessAndLeavesDeadNodes holds the group against the plain
// policy in ten runs of two hours, with the same nodes, failures and noise.
// Half its switches are the goal; with a tolerance of 50 ms, though, most of
// them are away from nodes that died, which nobody can spare.
func TestGroupSwitchesLessAndLeavesDeadNodes(t *testing.T) {
	t.Parallel()
	for _, tolerance := range []int{0, 50} {
		t.Run(fmt.Sprintf("tolerance %d", tolerance), func(t *testing.T) {
			t.Parallel()
			var ours, theirs outcome
			for seed := range uint64(10) {
				g, err := urltest.New(context.Background(), nil, urltest.Config{URL: target, Tolerance: urltest.Tolerance(tolerance)})
				if err != nil {
					t.Fatal(err)
				}
				ours.add(simulate(t, seed, g))
				theirs.add(simulate(t, seed, &plain{tolerance: time.Duration(tolerance) * time.Millisecond}))
			}
			t.Logf("ours:  %v", ours)
			t.Logf("plain: %v", theirs)
			if times := map[int]int{0: 2, 50: 1}[tolerance]; times*ours.switches >= theirs.switches {
				t.Errorf("%d switches, plain %d: want fewer than 1/%d", ours.switches, theirs.switches, times)
			}
			if ours.longest > interval {
				t.Errorf("%v on a dead node, want %v at most", ours.longest, interval)
			}
		})
	}
}

package urltest_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/group/urltest"
	"github.com/culvert-proxy/culvert/plugins/internal/grouptest"
)

// step is what happens and what the group picks afterwards. Tests of a step
// come a minute after those of the step before.
type step struct {
	do   func(g framework.Group, m *grouptest.Members)
	want string
}

// run makes a group with the members a, b, c and does the steps.
func run(t *testing.T, config string, steps ...step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := grouptest.Build(t, urltest.Descriptor(), config)
		m := grouptest.New("a", "b", "c")
		for i, s := range steps {
			time.Sleep(time.Minute)
			if s.do != nil {
				s.do(g, m)
			}
			if got := grouptest.Pick(t, g, m); got != s.want {
				t.Errorf("step %d: got %s, want %s", i+1, got, s.want)
			}
		}
	})
}

// delays records a result for a, b and c; -1 records none.
func delays(ms ...int) func(framework.Group, *grouptest.Members) {
	return func(_ framework.Group, m *grouptest.Members) {
		for i, d := range ms {
			if d >= 0 {
				m.Test(m.List[i], d)
			}
		}
	}
}

func pin(name string) func(framework.Group, *grouptest.Members) {
	return func(g framework.Group, m *grouptest.Members) { g.(framework.Selector).Select(name, m) }
}

func fail(name string, err error) func(framework.Group, *grouptest.Members) {
	return func(g framework.Group, _ *grouptest.Members) { g.Report(name, framework.Result{Err: err}) }
}

func TestPickFollowsDelays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config string
		steps  []step
	}{
		"the first before any test":           {"{}", []step{{nil, "a"}}},
		"the fastest":                         {"{}", []step{{delays(30, 20, 10), "c"}}},
		"of equals the first":                 {"{}", []step{{delays(30, 20, 20), "b"}}},
		"a tested one before an untested one": {"{}", []step{{delays(-1, -1, 900), "c"}}},
		"not a dead one":                      {"{}", []step{{delays(0, 30, 0), "b"}}},
		"the first when all are dead":         {"{}", []step{{delays(0, 0, 0), "a"}}},
		"another when the current dies": {"{tolerance: 500}", []step{
			{delays(10, 20, 30), "a"}, {delays(0, 20, 30), "b"},
		}},
		"a difference of the tolerance moves nothing": {"{tolerance: 50}", []step{
			{delays(100, 200, 200), "a"}, {delays(100, 50, 200), "a"},
		}},
		"more than the tolerance does": {"{tolerance: 49}", []step{
			{delays(100, -1, -1), "a"}, {delays(-1, 50, -1), "b"},
		}},
		"the tolerance protects a member that is not the first": {"{tolerance: 50}", []step{
			{delays(200, 100, 200), "b"}, {delays(60, 100, 200), "b"}, {delays(60, 100, 200), "b"},
		}},
		"the tolerance protects the first": {"{tolerance: 50}", []step{
			{delays(100, 200, 200), "a"}, {delays(100, 60, 200), "a"}, {delays(100, 60, 60), "a"},
		}},
		"one odd result moves nothing": {"{}", []step{
			{delays(50, 60, 90), "a"}, {delays(51, 60, 90), "a"}, {delays(300, 60, 90), "a"}, {delays(50, 60, 90), "a"},
		}},
		"a lasting change does": {"{}", []step{
			{delays(50, 60, 90), "a"}, {delays(300, 60, 90), "a"}, {delays(300, 60, 90), "b"},
		}},
		"text as tolerance is none": {"{tolerance: much}", []step{
			{delays(100, -1, -1), "a"}, {delays(-1, 99, -1), "b"},
		}},
		"a member that comes and goes is not gone back to": {"{}", []step{
			{delays(10, 90, 90), "a"}, {delays(0, 90, 90), "b"}, {delays(10, 90, 90), "a"}, {delays(0, 90, 90), "b"}, {delays(10, 90, 90), "b"},
		}},
		"the current left the members": {"{}", []step{
			{delays(10, 20, 30), "a"}, {func(_ framework.Group, m *grouptest.Members) { m.Set("b", "c") }, "b"},
		}},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); run(t, c.config, c.steps...) })
	}
}

func TestPinHoldsWhileItsMemberLives(t *testing.T) {
	t.Parallel()
	run(t, "{}",
		step{delays(10, 20, 30), "a"},
		step{pin("c"), "c"},
		step{delays(10, 20, 0), "a"}, // dead: traffic goes to the fastest
		step{delays(10, 20, 30), "c"},
		step{func(_ framework.Group, m *grouptest.Members) { m.Set("a", "b") }, "a"},
		step{func(_ framework.Group, m *grouptest.Members) { m.Set("a", "b", "c") }, "c"},
		step{pin(""), "a"},
	)
}

func TestDeadPinIsKept(t *testing.T) {
	t.Parallel()
	g := grouptest.Build(t, urltest.Descriptor(), "{}")
	m := grouptest.New("a", "b")
	m.Test("a", 10)
	m.Test("b", 0)
	s := g.(framework.Selector)

	if err := s.Select("b", m); err != nil {
		t.Fatal(err)
	}

	if got := grouptest.Pick(t, g, m); got != "a" || s.Selected() != "b" {
		t.Errorf("got %s, pinned %q, want a, pinned b", got, s.Selected())
	}
	if err := s.Select("x", m); !errors.Is(err, framework.ErrNotMember) || s.Selected() != "b" {
		t.Errorf("pin of a stranger: %v, pinned %q", err, s.Selected())
	}
}

func TestMemberThatFailsTrafficIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	run(t, "{}",
		step{delays(10, 20, 30), "a"},
		step{fail("a", framework.ErrTimeout), "b"},
		step{delays(10, -1, -1), "a"}, // a test passed
		step{fail("a", framework.ErrRejected), "a"},
		step{fail("a", errors.New("the client left")), "a"},
		step{pin("c"), "c"},
		step{fail("c", framework.ErrRefused), "a"},
		step{delays(-1, -1, 30), "c"},
	)
}

func TestSuspicionEndsWithADialThatWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := grouptest.Build(t, urltest.Descriptor(), "{}")
		m := grouptest.New("a", "b")
		m.Test("a", 10)
		m.Test("b", 20)
		time.Sleep(time.Second)
		g.Report("a", framework.Result{Err: framework.ErrTimeout})
		if got := grouptest.Pick(t, g, m); got != "b" {
			t.Fatalf("got %s, want b", got)
		}

		g.Report("a", framework.Result{})

		if got := grouptest.Pick(t, g, m); got != "a" {
			t.Errorf("got %s, want a", got)
		}
	})
}

func TestMemberThatKeepsFailingIsLeftForLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := grouptest.Build(t, urltest.Descriptor(), "{}")
		m := grouptest.New("a", "b")
		m.Test("a", 10)
		m.Test("b", 11)
		var picks []string
		for range 3 { // it passes each test, and carries nothing
			time.Sleep(10 * time.Second)
			g.Report("b", framework.Result{})
			g.Report("a", framework.Result{Err: framework.ErrTimeout})
			time.Sleep(time.Second)
			m.Test("a", 10)
			picks = append(picks, grouptest.Pick(t, g, m))
		}

		if want := []string{"a", "a", "b"}; !slices.Equal(picks, want) {
			t.Errorf("got %v, want %v", picks, want)
		}
		time.Sleep(10 * time.Second)
		m.Test("a", 10)
		if got := grouptest.Pick(t, g, m); got != "b" {
			t.Errorf("11 s later: got %s, want b", got)
		}
	})
}

func TestAllFailingIsNoReasonToMove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := grouptest.Build(t, urltest.Descriptor(), "{}")
		m := grouptest.New("a", "b", "c", "d")
		for i, name := range m.List {
			m.Test(name, 10*(i+1))
		}
		time.Sleep(time.Second)
		for _, name := range m.List { // one destination that is down, tried through all
			if got := grouptest.Pick(t, g, m); got != name {
				t.Fatalf("got %s, want %s", got, name)
			}
			g.Report(name, framework.Result{Err: framework.ErrRefused})
		}

		if got := grouptest.Pick(t, g, m); got != "a" {
			t.Errorf("got %s, want a", got)
		}
	})
}

func TestGroupIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	grouptest.Hammer(t, grouptest.Build(t, urltest.Descriptor(), "{}"))
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	grouptest.Sample(t, urltest.Descriptor())
}

func BenchmarkPick(b *testing.B) {
	g := grouptest.Build(b, urltest.Descriptor(), "{}")
	m := grouptest.New("a", "b", "c")
	m.Test("b", 10)
	grouptest.Bench(b, g, m, &framework.Flow{Network: framework.TCP})
}

// BenchmarkChoose is the cost of a pick after a result came in.
func BenchmarkChoose(b *testing.B) {
	g := grouptest.Build(b, urltest.Descriptor(), "{}")
	m := grouptest.New("a", "b", "c")
	for range 10 {
		m.Test("a", 10, 20)
		m.Test("b", 12, 10)
		m.Test("c", 15, 10)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Set("a", "b", "c")
		g.Pick(&framework.Flow{}, m)
	}
}

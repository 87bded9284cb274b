package fallback_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/group/fallback"
	"github.com/culvert-proxy/culvert/plugins/internal/grouptest"
)

// step is what happens, what the group picks afterwards, and its pin.
type step struct {
	do        func(g framework.Group, m *grouptest.Members)
	want, pin string
}

func run(t *testing.T, steps ...step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := grouptest.Build(t, fallback.Descriptor(), "{}")
		m := grouptest.New("a", "b", "c")
		for i, s := range steps {
			time.Sleep(time.Minute)
			s.do(g, m)
			got := grouptest.Pick(t, g, m)
			if pin := g.(framework.Selector).Selected(); got != s.want || pin != s.pin {
				t.Errorf("step %d: got %s, pinned %q; want %s, pinned %q", i+1, got, pin, s.want, s.pin)
			}
		}
	})
}

// alive records good results of a, b and c, and bad ones for false.
func alive(ok ...bool) func(framework.Group, *grouptest.Members) {
	return func(_ framework.Group, m *grouptest.Members) {
		for i, good := range ok {
			if good {
				m.Test(m.List[i], 100-i)
			} else {
				m.Test(m.List[i], 0)
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

func nothing(framework.Group, *grouptest.Members) {}

func TestFirstMemberThatWorksIsPicked(t *testing.T) {
	t.Parallel()
	const yes, no = true, false
	for name, steps := range map[string][]step{
		"the first before any test":         {{nothing, "a", ""}},
		"the first alive one":               {{alive(no, yes, yes), "b", ""}, {alive(no, no, yes), "c", ""}},
		"the first when all are dead":       {{alive(no, no, no), "a", ""}},
		"back to the first after an outage": {{alive(no, yes, yes), "b", ""}, {alive(yes, yes, yes), "a", ""}},
		"not back to one that comes and goes": {
			{alive(no, yes, yes), "b", ""}, {alive(yes, yes, yes), "a", ""}, {alive(no, yes, yes), "b", ""},
			{alive(yes, yes, yes), "b", ""}, {alive(yes, yes, yes), "a", ""},
		},
		"one that comes and goes before a dead one": {{alive(no, no, no), "a", ""}, {alive(no, yes, no), "b", ""}, {alive(no, no, no), "a", ""}, {alive(no, yes, no), "b", ""}},
		"a pin that is alive":                       {{pin("c"), "c", "c"}, {alive(yes, yes, yes), "c", "c"}, {pin(""), "a", ""}},
		"a dead pin vanishes":                       {{pin("b"), "b", "b"}, {alive(no, no, yes), "c", ""}, {alive(no, yes, yes), "b", ""}},
		"a pin of a dead member vanishes":           {{alive(yes, no, yes), "a", ""}, {pin("b"), "a", ""}},
		"traffic fails":                             {{fail("a", framework.ErrTimeout), "b", ""}, {alive(yes, yes, yes), "a", ""}},
		"traffic fails through a pin":               {{pin("b"), "b", "b"}, {fail("b", framework.ErrTimeout), "a", "b"}, {alive(yes, yes, yes), "b", "b"}},
		"a flow that the client gave up":            {{fail("a", errors.New("gone")), "a", ""}},
		"a pin that is no member any more":          {{pin("c"), "c", "c"}, {func(_ framework.Group, m *grouptest.Members) { m.Set("a", "b") }, "a", "c"}},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); run(t, steps...) })
	}
}

func TestGroupIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	grouptest.Hammer(t, grouptest.Build(t, fallback.Descriptor(), "{}"))
}

func TestSampleIsRight(t *testing.T) {
	t.Parallel()
	grouptest.Sample(t, fallback.Descriptor())
}

func BenchmarkPick(b *testing.B) {
	g := grouptest.Build(b, fallback.Descriptor(), "{}")
	m := grouptest.New("a", "b", "c")
	m.Test("a", 0)
	grouptest.Bench(b, g, m, &framework.Flow{Network: framework.TCP})
}

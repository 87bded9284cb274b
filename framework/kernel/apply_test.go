package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/store"
)

func TestUnchangedInstancesStay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	const doc = `
proxies: [{name: same, type: probe, tag: 1}, {name: other, type: probe, tag: %d}, {name: %s, type: probe}]
proxy-groups: [{name: g, type: select, proxies: [same, other]}, {name: g%[1]d, type: select, proxies: [same]}, {name: every, type: select, include-all: true}]
rules: ['MATCH,g']
`
	h.apply(t, fmt.Sprintf(doc, 1, "x"))
	before := h.Snapshot().Nodes
	ids := h.State().Nodes
	h.apply(t, fmt.Sprintf(doc, 2, "y"))
	after := h.Snapshot().Nodes

	for name, want := range map[string]bool{"same": true, "g": true, "DIRECT": true, "REJECT": true, "other": false, "every": false, "GLOBAL": false} {
		if got := before[name] == after[name]; got != want {
			t.Errorf("%s is the same: %v, want %v", name, got, want)
		}
	}
	if got := after["every"].Members.Names(); !slices.Equal(got, []string{"other", "same", "y"}) {
		t.Errorf("members of include-all: %v", got)
	}
	if a, b := ids["same"].ID, h.State().Nodes["same"].ID; a != b || a == "" {
		t.Errorf("id of an unchanged proxy: %q, then %q", a, b)
	}
	if got := map[string]bool{wait(t, h.closed): true, wait(t, h.closed): true}; !got["1"] || !got[""] || h.builds.Load() != 5 {
		t.Errorf("closed %v, built %d", got, h.builds.Load())
	}
}

func TestReorderedMembersAndRulesOfTheSameTextKeepTheirCounters(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	h := newHouse(t, nil)
	doc := fmt.Sprintf("mixed-port: %d\nmode: rule\nrules: ['DOMAIN,a.test,REJECT', 'MATCH,DIRECT']\nlog-level: ", port)
	h.apply(t, doc+"info")
	tunnel(t, port, echo(t))
	rule := h.Snapshot().Rules.Main().Rules()[1]
	rule.SetDisabled(true)

	h.apply(t, doc+"silent")

	again := h.Snapshot().Rules.Main().Rules()[1]
	if again != rule || again.Hits.Load() != 1 || again.Disabled() {
		t.Errorf("same %v, hits %d, disabled %v; want the same rule, 1, switched on", again == rule, again.Hits.Load(), again.Disabled())
	}
	h.apply(t, strings.Replace(doc, "a.test", "b.test", 1)+"silent")
	if h.Snapshot().Rules.Main().Rules()[1] == rule {
		t.Error("changed rules kept their counters")
	}
}

func TestBadDocumentChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	port, other := freePort(t), freePort(t)
	doc := "mixed-port: %d\nproxies: [{name: a, type: probe, tag: %s}]\nrules: ['MATCH,%s']"
	h.apply(t, fmt.Sprintf(doc, port, "one", "a"))
	state, snapshot := h.State(), h.Snapshot()

	bad := h.Apply(context.Background(), h.load(t, fmt.Sprintf(doc, other, "two", "b")), kernel.Options{})
	unbuilt := h.Apply(context.Background(), h.load(t, fmt.Sprintf(doc, other, "bad", "a")), kernel.Options{})

	var problems conf.Problems
	if !errors.As(bad, &problems) || problems[0].Place.Line != 3 {
		t.Errorf("unknown target: %v, want a problem of line 3", bad)
	}
	if unbuilt == nil || !strings.Contains(unbuilt.Error(), `outbound "a": no probe today`) {
		t.Errorf("unbuilt outbound: %v", unbuilt)
	}
	if h.State() != state || h.Snapshot() != snapshot {
		t.Error("a refused document changed what is in force")
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", other)); err == nil {
		c.Close()
		t.Error("a refused document opened its port")
	}
	if failed := h.Stats.Applies.Failed.Load(); failed != 2 || h.Stats.Applies.OK.Load() != 1 {
		t.Errorf("%d failed, %d ok", failed, h.Stats.Applies.OK.Load())
	}
}

func TestFailedBuildClosesWhatItMadeAndNoMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.apply(t, "proxies: [{name: a, type: probe, tag: a}]")

	err := h.Apply(context.Background(), h.load(t,
		"proxies: [{name: a, type: probe, tag: a}, {name: b, type: probe, tag: b}, {name: c, type: probe, tag: bad}]"), kernel.Options{})

	if err == nil {
		t.Fatal("got no error")
	}
	if tag := wait(t, h.closed); tag != "b" || len(h.closed) > 0 {
		t.Errorf("closed %q and %d more, want b", tag, len(h.closed))
	}
}

func TestFlowOfARemovedOutboundGoesOnUntilItEnds(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	h := newHouse(t, nil)
	with := fmt.Sprintf("mixed-port: %d\nproxies: [{name: a, type: probe, tag: first}]\nrules: ['MATCH,a']", port)
	h.apply(t, with)
	flow := tunnel(t, port, echo(t))

	h.apply(t, fmt.Sprintf("mixed-port: %d\nrules: ['MATCH,REJECT']", port))
	h.apply(t, with)

	for range 3 {
		if !alive(flow) {
			t.Fatal("the flow ended with its outbound")
		}
	}
	select {
	case tag := <-h.closed:
		t.Errorf("%q closed under its flow", tag)
	default:
	}
	flow.Close()
	if tag := wait(t, h.closed); tag != "first" {
		t.Errorf("closed %q, want first", tag)
	}
}

func TestFlowsOfARemovedOutboundAreCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain time.Duration
		opt   kernel.Options
	}{"when the drain ends": {50 * time.Millisecond, kernel.Options{}}, "at once": {time.Hour, kernel.Options{CutNow: true}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			h := newHouse(t, func(k *kernel.Config) { k.Drain = c.drain })
			doc := "mixed-port: %d\nproxies: [{name: a, type: probe, tag: a}%s]\nrules: ['DST-PORT,%s,b', 'MATCH,a']"
			gone, stays := echo(t), echo(t)
			_, number, _ := net.SplitHostPort(gone)
			h.apply(t, fmt.Sprintf(doc, port, ", {name: b, type: probe, tag: b}", number))
			cut, kept := tunnel(t, port, gone), tunnel(t, port, stays)

			h.apply(t, fmt.Sprintf("mixed-port: %d\nproxies: [{name: a, type: probe, tag: a}]\nrules: ['MATCH,a']", port), c.opt)

			if tag := wait(t, h.closed); tag != "b" {
				t.Errorf("closed %q, want b", tag)
			}
			if alive(cut) {
				t.Error("the flow lives on")
			}
			if !alive(kept) {
				t.Error("a flow of another outbound was cut")
			}
		})
	}
}

func TestFlowThatDialsIsCutWithItsOutbound(t *testing.T) {
	t.Parallel()
	port, server := freePort(t), echo(t)
	h := newHouse(t, nil)
	h.apply(t, fmt.Sprintf("mixed-port: %d\nproxies: [{name: a, type: probe, tag: slow}]\nrules: ['MATCH,a']", port))
	opened := make(chan net.Conn)
	go func() { // ends with the answer
		c, _ := connect(t, port, server)
		opened <- c
	}()
	wait(t, h.dialing)

	h.apply(t, fmt.Sprintf("mixed-port: %d", port), kernel.Options{CutNow: true})
	h.apply(t, fmt.Sprintf("mixed-port: %d\nproxies: [{name: b, type: probe, tag: b}]", port)) // by its end the first cut has been
	close(h.dial)

	if c := wait(t, opened); c.SetDeadline(time.Now().Add(patience)) != nil || alive(c) && !ended(c) {
		t.Error("the flow lives on")
	}
	wait(t, h.closed)
}

// ended waits until the other side ends c.
func ended(c net.Conn) bool {
	_, err := c.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestChoiceIsCarriedOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *kernel.Config) {
		s, _, err := store.Open(c.Home + "/store")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		c.Store = s
	})
	doc := "proxies: [{name: a, type: direct}, {name: b, type: direct}, {name: c, type: direct}]\nproxy-groups: [{name: g, type: select, proxies: [%s]}]\nprofile: {store-selected: true}"
	now := func() string { return h.Snapshot().Now("g") }
	h.apply(t, fmt.Sprintf(doc, "a, b"))
	if err := h.Select("g", "b"); err != nil {
		t.Fatal(err)
	}

	for _, step := range []struct{ members, want string }{{"a, c, b", "b"}, {"a, c", "a"}, {"c, b", "b"}} {
		h.apply(t, fmt.Sprintf(doc, step.members))
		if now() != step.want {
			t.Errorf("members %s: got %s, want %s", step.members, now(), step.want)
		}
	}
	h.apply(t, "{}")
	h.apply(t, fmt.Sprintf(doc, "a, b"))
	if now() != "b" {
		t.Errorf("after the group was away: got %s, want the stored b", now())
	}
	h.apply(t, "{}")
	h.apply(t, strings.Replace(fmt.Sprintf(doc, "a, b"), "true", "false", 1))
	if now() != "a" {
		t.Errorf("without store-selected: got %s, want a", now())
	}
	for err, do := range map[error]error{
		kernel.ErrNotFound: h.Select("nobody", "a"), kernel.ErrNotSelector: h.Select("a", "b"),
	} {
		if !errors.Is(do, err) {
			t.Errorf("got %v, want %v", do, err)
		}
	}
	if h.Select("g", "") == nil || h.Select("g", "c") == nil {
		t.Error("no member, or none of the group's, was taken")
	}
}

func TestManyAppliesAtOnceAllEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.apply(t, "{}")
	docs := make([]string, 60)
	var all sync.WaitGroup
	for i := range docs {
		docs[i] = fmt.Sprintf("proxies: [{name: p%d, type: direct}]", i)
		doc := h.load(t, docs[i])
		all.Go(func() {
			if err := h.Apply(context.Background(), doc, kernel.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { // ends with the applies
		all.Wait()
		close(done)
	}()

	wait(t, done)

	if n := h.Stats.Applies.OK.Load(); n < 2 || n > 61 {
		t.Errorf("%d applies", n)
	}
	if st := h.State(); h.Snapshot().Nodes[st.Document.Proxies[0].Get("name").Plain().(string)] == nil {
		t.Error("state and snapshot are of different documents")
	}
}

func TestCheckBuildsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)

	p := h.Check(h.load(t, "proxies: [{name: a, type: probe}, {name: s, type: ss, server: a.test, port: 1, cipher: none, password: x}]"))

	if len(p.Errors()) > 0 || len(p.Warnings()) != 1 {
		t.Errorf("got %v, want a warning", p)
	}
	if h.builds.Load() != 0 || h.State() != nil || h.Snapshot() != (*dispatch.Snapshot)(nil) {
		t.Error("Check left something behind")
	}
}

package wire

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// suffix is a rule that holds for a host name.
type suffix struct{ text string }

func (s suffix) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	return strings.HasSuffix(facts.Host(), s.text), nil
}

func (s suffix) KeepVerdict() time.Duration { return time.Minute }

func TestRuleIsAskedOnceForADestination(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	d := framework.NewRule("ENDS", "Ends", func(a framework.RuleArgs) (framework.Rule, error) {
		if a.Payload == "" {
			return nil, errors.New("payload is empty")
		}
		return counting{suffix{a.Payload}, &asked}, nil
	})
	remote := pairOf(t, d)[0]
	r, err := framework.Build[framework.Rule](t.Context(), remote, newTestHost(), ruleSource{framework.RuleArgs{Payload: ".test"}})
	if err != nil {
		t.Fatal(err)
	}
	f := &framework.Flow{Network: framework.TCP, Destination: framework.Addr{Host: "a.test", Port: 443}}
	for range 3 {
		if ok, err := r.Match(f, knownFacts{host: "a.test"}); !ok || err != nil {
			t.Errorf("got %v, %v, want a match", ok, err)
		}
	}
	if ok, _ := r.Match(f, knownFacts{host: "a.example"}); ok {
		t.Error("the rule holds for another host")
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("the process was asked %d times, want 2", got)
	}
	if err := remote.Check(ruleSource{}); err == nil || err.Error() != "payload is empty" {
		t.Errorf("got %v, want the payload's mistake", err)
	}
}

type counting struct {
	suffix
	n *atomic.Int64
}

func (c counting) Match(f *framework.Flow, facts framework.Facts) (bool, error) {
	c.n.Add(1)
	return c.suffix.Match(f, facts)
}

// list is a fetcher with one document.
type list struct{ size int }

func (l list) Fetch(_ context.Context, since framework.Version) (framework.Document, error) {
	if since == "v1" {
		return framework.Document{}, framework.ErrUnchanged
	}
	if l.size == 0 {
		return framework.Document{}, framework.Classed(framework.ErrAuth, errors.New("wrong key"))
	}
	return framework.Document{Body: io.NopCloser(strings.NewReader(strings.Repeat("x", l.size))), Version: "v1", Header: map[string][]string{"A": {"b"}}}, nil
}

func TestDocumentGoesAcrossTheWire(t *testing.T) {
	t.Parallel()
	type config struct {
		Size int `yaml:"size"`
	}
	d := framework.NewFetcher("list", func() config { return config{} },
		func(_ context.Context, _ framework.Host, c config) (framework.Fetcher, error) {
			return list{c.Size}, nil
		})
	remote := pairOf(t, d)[0]
	f, err := framework.Build[framework.Fetcher](t.Context(), remote, newTestHost(), yaml(t, "size: 5000000"))
	if err != nil {
		t.Fatal(err)
	}

	doc, err := f.Fetch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(doc.Body)
	doc.Body.Close()
	if err != nil || len(body) != 5000000 || doc.Version != "v1" || doc.Header["A"][0] != "b" {
		t.Errorf("got %d bytes, %v, %v, %v", len(body), doc.Version, doc.Header, err)
	}
	if _, err := f.Fetch(t.Context(), "v1"); err != framework.ErrUnchanged {
		t.Errorf("got %v, want %v", err, framework.ErrUnchanged)
	}
	f, err = framework.Build[framework.Fetcher](t.Context(), remote, newTestHost(), yaml(t, "size: 0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fetch(t.Context(), ""); framework.Classify(err) != framework.ErrAuth {
		t.Errorf("got %v, want class %v", err, framework.ErrAuth)
	}
}

// Package conformance is the kit that proves a plugin: checks of what the
// contract in framework promises, each run directly and again across the wire,
// as the kernel sees a plugin that lives in a process of its own. An author
// calls Outbound, Rule or Fetcher from a test; `culvert plugin check` runs the
// same checks against an executable in any language. What a protocol's bytes
// are is the plugin's own business to test.
package conformance

import (
	"iter"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/wire"
)

// Case is what the kit needs to know of an outbound.
type Case struct {
	// YAML is a configuration that works. %ADDR%, %HOST% and %PORT% in it stand
	// for the address of the server.
	YAML string
	// Server starts a server of the protocol that reaches destinations on
	// loopback, localhost by name among them, until the end of the test. nil is
	// for a type without a server, as direct.
	Server func(testing.TB) framework.Addr
	// Sample is the path of sample.yaml; "" leaves it alone.
	Sample string
	// WrongSecret is YAML with a wrong password; "" leaves it alone.
	WrongSecret string
	// MaxDatagram is the longest packet in bytes; 0 is 65,507.
	MaxDatagram int
	NoPackets   bool // the configuration in YAML carries no packets
	NoHalfClose bool // the protocol cannot end one direction alone
	// Nowhere is for a type that refuses or swallows every flow.
	Nowhere bool
}

// Outbound runs the checks of an outbound. It takes some seconds; with -short
// it moves fewer bytes.
func Outbound(t *testing.T, d framework.Descriptor, c Case) {
	t.Helper()
	s := subject{d: d, outbound: c, short: testing.Short(), pace: usual}
	if c.Server != nil {
		s.server = c.Server(t)
	}
	s.test(t, outboundChecks())
}

// Rule runs the checks of a rule type.
func Rule(t *testing.T, d framework.Descriptor, c RuleCase) {
	t.Helper()
	s := subject{d: d, rule: c, short: testing.Short(), pace: usual}
	s.test(t, ruleChecks())
}

// Fetcher runs the checks of a fetcher.
func Fetcher(t *testing.T, d framework.Descriptor, c FetcherCase) {
	t.Helper()
	s := subject{d: d, fetcher: c, short: testing.Short(), pace: usual}
	if c.Server != nil {
		s.server = c.Server(t, s.document.text)
	}
	s.test(t, fetcherChecks())
}

// Outbounds are the results of the same checks for a Descriptor whose code
// runs in another process already. Case.Server is not called: server is the
// address of one that runs, or zero to leave out what needs one.
func Outbounds(d framework.Descriptor, c Case, server framework.Addr) iter.Seq[Result] {
	s := subject{d: d, outbound: c, server: server, short: true, process: true, pace: usual}
	return s.results(outboundChecks())
}

// Rules is Outbounds for a rule type.
func Rules(d framework.Descriptor, c RuleCase) iter.Seq[Result] {
	s := subject{d: d, rule: c, short: true, process: true, pace: usual}
	return s.results(ruleChecks())
}

// Fetchers is Outbounds for a fetcher, for what needs no server.
func Fetchers(d framework.Descriptor, c FetcherCase) iter.Seq[Result] {
	s := subject{d: d, fetcher: c, short: true, process: true, pace: usual}
	return s.results(fetcherChecks())
}

// subject is what is checked.
type subject struct {
	d        framework.Descriptor
	outbound Case
	rule     RuleCase
	fetcher  FetcherCase
	document document       // what the fetcher's server serves
	server   framework.Addr // zero when there is none
	short    bool
	pace     pace
	process  bool // d runs in another process
}

// check is one fact about a plugin. It is run in each way that there is.
type check struct {
	name string // "stream/half-close reaches the destination"
	run  func(*trial)
}

// way is how a check reaches the plugin.
type way struct {
	name string
	open func(*trial) framework.Descriptor
}

func (s *subject) ways() []way {
	direct := func(*trial) framework.Descriptor { return s.d }
	if s.process {
		return []way{{"process", direct}}
	}
	return []way{{"direct", direct}, {"wire", func(t *trial) framework.Descriptor {
		remote, stop, err := wire.Pair(s.d)
		if err != nil {
			t.fatalf("the wire does not take the type: %v", err)
		}
		t.cleanup(stop)
		return remote[0]
	}}}
}

// results runs the checks in each way, one after another.
func (s *subject) results(checks []check) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		for _, w := range s.ways() {
			for _, c := range checks {
				if !yield(s.perform(w, c)) {
					return
				}
			}
		}
	}
}

// test makes a subtest of each check.
func (s *subject) test(t *testing.T, checks []check) {
	t.Helper()
	for _, w := range s.ways() {
		t.Run(w.name, func(t *testing.T) {
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) { s.perform(w, c).tell(t) })
			}
		})
	}
}

func (r Result) tell(t *testing.T) {
	t.Helper()
	for _, n := range r.Notes {
		t.Log(n)
	}
	for _, f := range r.Faults {
		t.Error(f)
	}
	if r.Skipped != "" && len(r.Faults) == 0 {
		t.Skip(r.Skipped)
	}
}

// fill puts the server's address into a configuration.
func fill(yaml string, at framework.Addr) string {
	host, port := at.Name(), at.String()
	port = port[strings.LastIndexByte(port, ':')+1:]
	return strings.NewReplacer("%ADDR%", at.String(), "%HOST%", host, "%PORT%", port).Replace(yaml)
}

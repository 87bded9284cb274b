package control

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/registry"
)

// launchWait bounds the start of a process under check; chosen: far more than
// the 5 s of subproc.
const launchWait = 30 * time.Second

// pluginCheck runs the kit against an executable.
func pluginCheck(args []string, out io.Writer) error {
	c := &pluginChecker{out: out}
	fs := flag.NewFlagSet("culvert plugin check BINARY SAMPLE", flag.ContinueOnError)
	at := fs.String("at", "", "ip:port of a server of the protocol that reaches this machine's loopback; without one the checks that need it are skipped")
	fs.IntVar(&c.given.MaxDatagram, "datagram", 0, "longest packet that the protocol carries, in `bytes` (65507)")
	fs.BoolVar(&c.given.NoHalfClose, "no-half-close", false, "the protocol cannot end one direction of a stream alone")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return errors.New("usage: culvert plugin check BINARY SAMPLE [flags]")
	}
	if *at != "" {
		server, err := netip.ParseAddrPort(*at)
		if err != nil {
			return fmt.Errorf("-at %q: want ip:port", *at)
		}
		c.server = framework.AddrFrom(server)
	}
	if c.sample, err = readSample(rest[1]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), launchWait)
	defer cancel()
	plugin, end, err := launch(ctx, rest[0])
	if err != nil {
		return fmt.Errorf("start %s: %w", rest[0], err)
	}
	defer end()
	return c.check(plugin)
}

// pluginChecker prints one line for each check.
type pluginChecker struct {
	out    io.Writer
	sample *sample
	given  conformance.Case
	server framework.Addr

	types, passed, failed, skipped int
}

func (c *pluginChecker) check(p registry.Plugin) error {
	before := p.Status()
	open := descriptors(before.PID)
	for _, d := range p.Types() {
		results, err := c.results(d)
		if err != nil {
			return err
		}
		for r := range results {
			c.tell(fmt.Sprintf("%s %s ", d.Kind, d.Type), r)
		}
	}
	if c.types == 0 {
		return fmt.Errorf("%s configures none of the plugin's types", c.sample.path)
	}
	c.tell("", processLives(p, before))
	c.tell("", processKeepsNothing(before.PID, open))
	fmt.Fprintf(c.out, "%d ok, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	if c.failed > 0 {
		return errors.New("the plugin does not keep the contract")
	}
	return nil
}

// results are those of the checks of one type, none when the sample has none
// of it.
func (c *pluginChecker) results(d framework.Descriptor) (iter.Seq[conformance.Result], error) {
	if d.Kind == framework.KindRule {
		payload, params, ok := c.sample.rule(d)
		if !ok {
			return c.absent(d), nil
		}
		c.types++
		return conformance.Rules(d, conformance.RuleCase{Payload: payload, Params: params}), nil
	}
	entry, ok := c.sample.entry(d)
	if !ok {
		return c.absent(d), nil
	}
	c.types++
	var keys []string
	if d.Kind == framework.KindFetcher {
		keys = keysOf(d)
	}
	yaml, err := template(entry, keys)
	if err != nil {
		return nil, err
	}
	if d.Kind == framework.KindFetcher {
		return conformance.Fetchers(d, conformance.FetcherCase{YAML: yaml}), nil
	}
	given := c.given
	given.YAML, given.Sample = yaml, c.sample.path
	return conformance.Outbounds(d, given, c.server), nil
}

func (c *pluginChecker) absent(framework.Descriptor) iter.Seq[conformance.Result] {
	return func(yield func(conformance.Result) bool) {
		yield(conformance.Result{Name: "process/all checks", Skipped: c.sample.path + " has nothing of this type"})
	}
}

func (c *pluginChecker) tell(what string, r conformance.Result) {
	name := what + strings.TrimPrefix(r.Name, "process/")
	switch {
	case len(r.Faults) > 0:
		c.failed++
		fmt.Fprintf(c.out, "FAIL  %s\n", name)
	case r.Skipped != "":
		c.skipped++
		fmt.Fprintf(c.out, "skip  %s (%s)\n", name, r.Skipped)
	default:
		c.passed++
		fmt.Fprintf(c.out, "ok    %s\n", name)
	}
	for _, line := range append(r.Notes, r.Faults...) {
		fmt.Fprintf(c.out, "      %s\n", strings.ReplaceAll(line, "\n", "\n      "))
	}
}

// processLives says whether the process that was started first is still there.
func processLives(p registry.Plugin, before registry.Status) conformance.Result {
	r := conformance.Result{Name: "process one process runs through all checks"}
	if now := p.Status(); now.PID != before.PID || now.Restarts != before.Restarts {
		r.Faults = []string{fmt.Sprintf("it ended and was started again %d times: %s\n%s", now.Restarts-before.Restarts, now.LastError, now.Trace)}
	}
	return r
}

// settle is how long a process may take to close its sockets. Chosen.
const settle = 3 * time.Second

// spareDescriptors is how many a process may have more than at its start: the
// wire keeps up to 16 connections each way for the next dial, and the runtime
// may open a few. The kit opens hundreds of flows, so a descriptor that each
// leaves behind shows; one that only a rare path leaves may not.
const spareDescriptors = 2*16 + 4

// processKeepsNothing compares the process's descriptors with those of its
// start.
func processKeepsNothing(pid, before int) conformance.Result {
	r := conformance.Result{Name: "process descriptors do not grow with the flows"}
	if before < 0 {
		r.Skipped = "this system does not show the descriptors of a process"
		return r
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(settle)
	defer late.Stop()
	for descriptors(pid) > before+spareDescriptors {
		select {
		case <-tick.C:
			continue
		case <-late.C:
		}
		r.Faults = []string{fmt.Sprintf("it began with %d and has %d", before, descriptors(pid))}
		return r
	}
	return r
}

// descriptors is how many a process has open, -1 when that cannot be seen.
func descriptors(pid int) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return -1
	}
	return len(list)
}

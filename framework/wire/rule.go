package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// ruleKey tells one configured rule from another: a table that is compiled
// again asks the same instance.
type ruleKey struct{ typ, payload, params string }

// ruleInstance is a rule that is open in the process for as long as some table
// holds it.
type ruleInstance struct {
	instance
	key   ruleKey
	args  framework.RuleArgs
	users int // guarded by Remote.mu
	cache verdicts
}

// rule is one use of a ruleInstance.
type rule struct{ *ruleInstance }

// ruleConfig is a rule's configuration on the wire.
type ruleConfig struct {
	Payload string   `json:"payload"`
	Params  []string `json:"params"`
}

// rule makes a rule, or finds the one that is there.
func (r *Remote) rule(t *remoteType, a framework.RuleArgs) (framework.Rule, error) {
	params, _ := json.Marshal(a.Params)
	key := ruleKey{t.Type.Type, a.Payload, string(params)}
	r.mu.Lock()
	ri := r.rules[key]
	if ri != nil {
		ri.users++
	}
	r.mu.Unlock()
	if ri == nil {
		text, err := encode(ruleConfig{a.Payload, slices.Clone(a.Params)})
		if err != nil {
			return nil, err
		}
		ri = &ruleInstance{key: key, args: a, users: 1, instance: instance{kind: t.Kind, typ: t.Type.Type, config: text}}
		if err := r.adopt(context.Background(), &ri.instance); err != nil {
			return nil, plainly(err)
		}
		r.mu.Lock()
		if r.rules[key] == nil {
			r.rules[key] = ri
		}
		r.mu.Unlock()
	}
	out := &rule{ri}
	// A table of rules is not closed; the rule ends when nothing refers to it.
	runtime.AddCleanup(out, r.release, ri)
	return out, nil
}

// plainly is err without a place: the caller names the rule.
func plainly(err error) error {
	var problems conf.Problems
	if !errors.As(err, &problems) {
		return err
	}
	var errs []error
	for _, p := range problems {
		errs = append(errs, errors.New(p.Msg))
	}
	return errors.Join(errs...)
}

// release lets go of one use of a rule.
func (r *Remote) release(ri *ruleInstance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ri.users--; ri.users > 0 {
		return
	}
	if r.rules[ri.key] == ri {
		delete(r.rules, ri.key)
	}
	if r.ctx.Err() == nil {
		r.tasks.Go(func() { ri.Close() }) // ends with the call's deadline
	}
}

// PayloadText implements framework.PayloadTexter.
func (ru *rule) PayloadText() string {
	ru.mu.Lock()
	defer ru.mu.Unlock()
	if ru.reply != nil && ru.reply.Payload != "" {
		return printable([]byte(ru.reply.Payload))
	}
	return ru.args.Payload
}

// Match implements framework.Rule. It waits for the process no longer than
// 50 ms; a rule that cannot be asked does not hold.
func (ru *rule) Match(f *framework.Flow, facts framework.Facts) (bool, error) {
	at := verdictKey{network: f.Network, host: facts.Host(), port: f.Destination.Port}
	at.ip, _ = facts.IP()
	now := time.Now()
	if match, ok := ru.cache.get(at, now); ok {
		return match, nil
	}
	v, err := ru.ask(f, at)
	if err != nil {
		ru.r.refused.Add(1)
		return false, err
	}
	if v.CacheMs > 0 {
		ru.cache.put(at, v.Match, now, now.Add(time.Duration(v.CacheMs)*time.Millisecond))
	}
	return v.Match, nil
}

func (ru *rule) ask(f *framework.Flow, at verdictKey) (*pb.Verdict, error) {
	c, err := ru.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), ruleTimeout)
	defer cancel()
	m := &pb.Flow{Network: pb.Network(f.Network), SourceIp: f.Source.Addr().Unmap().AsSlice(), SourcePort: uint32(f.Source.Port()),
		Host: at.host, DestinationIp: at.ip.AsSlice(), DestinationPort: uint32(at.port),
		Inbound: f.Inbound.Name, InboundType: f.Inbound.Type, User: f.Inbound.User, Dscp: uint32(f.DSCP)}
	reply, err := c.Match(ctx, &pb.MatchRequest{Handle: ru.handle, Flows: []*pb.Flow{m}})
	if err != nil {
		return nil, control(err)
	}
	if len(reply.Verdicts) != 1 {
		return nil, framework.Classed(framework.ErrProtocol, fmt.Errorf("%d verdicts for one flow", len(reply.Verdicts)))
	}
	if msg := reply.Verdicts[0].Error; msg != "" {
		return nil, errors.New(printable([]byte(msg)))
	}
	return reply.Verdicts[0], nil
}

// verdictKey is what a cached verdict may depend on.
type verdictKey struct {
	network framework.Network
	host    string
	ip      netip.Addr
	port    uint16
}

type verdict struct {
	match bool
	until time.Time
}

// maxVerdicts bounds the verdicts that a rule keeps. Chosen: the destinations
// of a busy hour; 1 MiB.
const maxVerdicts = 8192

// verdicts keeps what a rule said for as long as it said.
type verdicts struct {
	mu sync.Mutex // guards m
	m  map[verdictKey]verdict
}

func (v *verdicts) get(k verdictKey, now time.Time) (match, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	got, ok := v.m[k]
	return got.match, ok && now.Before(got.until)
}

// put keeps a verdict. A full table loses what is out of date, and all when
// that is little.
func (v *verdicts) put(k verdictKey, match bool, now, until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.m) >= maxVerdicts {
		for at, old := range v.m {
			if now.After(old.until) {
				delete(v.m, at)
			}
		}
		if len(v.m) >= maxVerdicts*3/4 {
			clear(v.m)
		}
	}
	if v.m == nil {
		v.m = map[verdictKey]verdict{}
	}
	v.m[k] = verdict{match, until}
}

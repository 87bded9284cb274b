package wire

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

var typeNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkType refuses what the kernel cannot show or use.
func checkType(t *pb.Type) (*remoteType, error) {
	where := fmt.Sprintf("describe: %s %q", printable([]byte(t.Kind)), printable([]byte(t.Type)))
	switch framework.Kind(t.Kind) {
	case framework.KindOutbound, framework.KindRule, framework.KindFetcher:
	default:
		return nil, fmt.Errorf("%s: a process can hold outbounds, rules and fetchers", where)
	}
	for _, name := range append([]string{t.Type}, t.Aliases...) {
		if !typeNames.MatchString(name) {
			return nil, fmt.Errorf("%s: %q is no name of a type", where, printable([]byte(name)))
		}
	}
	if len(t.Label) > 64 || len(t.Summary) > 512 {
		return nil, fmt.Errorf("%s: label of more than 64 or summary of more than 512 bytes", where)
	}
	for _, need := range t.Requires {
		if !slices.Contains(Capabilities(), need) {
			return nil, fmt.Errorf("%s requires %q, which this kernel does not offer: upgrade the kernel", where, printable([]byte(need)))
		}
	}
	rt := &remoteType{Type: t}
	if t.Kind == string(framework.KindRule) {
		return rt, nil
	}
	s, err := parseSchema(t.Schema)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	rt.schema = s
	return rt, nil
}

// descriptor is t as the kernel knows types.
func (r *Remote) descriptor(t *remoteType) framework.Descriptor {
	opts := []framework.Option{
		framework.WithAliases(t.Aliases...),
		framework.WithSummary(printable([]byte(t.Summary))),
		framework.WithStability(stability(t.Stability)),
	}
	if t.Label != "" {
		opts = append(opts, framework.WithLabel(printable([]byte(t.Label))))
	}
	for _, c := range t.Caps {
		opts = append(opts, framework.WithCaps(framework.Cap(c)))
	}
	defaults := func() config { return config{r: r, t: t} }
	var d framework.Descriptor
	switch framework.Kind(t.Kind) {
	case framework.KindOutbound:
		d = framework.NewOutbound(t.Type.Type, defaults, func(ctx context.Context, h framework.Host, c config) (framework.Outbound, error) {
			o := &outbound{instance: c.instance(h), packets: slices.Contains(t.Caps, string(framework.CapPacket))}
			return o, r.adopt(ctx, &o.instance)
		}, opts...)
	case framework.KindFetcher:
		d = framework.NewFetcher(t.Type.Type, defaults, func(ctx context.Context, h framework.Host, c config) (framework.Fetcher, error) {
			f := &fetcher{instance: c.instance(h)}
			return f, r.adopt(ctx, &f.instance)
		}, opts...)
	default:
		d = framework.NewRule(t.Type.Type, t.Label, func(a framework.RuleArgs) (framework.Rule, error) { return r.rule(t, a) }, opts...)
	}
	d.Schema = t.Schema
	for _, need := range t.Requires {
		d.Requires = append(d.Requires, framework.Cap(need))
	}
	return d
}

func stability(s string) framework.Stability {
	switch v := framework.Stability(s); v {
	case framework.Beta, framework.Stable, framework.Deprecated:
		return v
	}
	return framework.Experimental
}

// config is the configuration of a remote outbound or fetcher: JSON, held
// against the published schema and then against the process's own check.
type config struct {
	r     *Remote
	t     *remoteType
	json  []byte
	lines lines
}

func (c *config) instance(h framework.Host) instance {
	return instance{kind: c.t.Kind, typ: c.t.Type.Type, config: c.json, host: h, lines: c.lines}
}

// ReadNode implements conf.NodeReader.
func (c *config) ReadNode(n conf.Node, m conf.Mode, foreign []string) conf.Problems {
	if k := n.Kind(); k == conf.Scalar || k == conf.List {
		return conf.Problems{n.Errorf("want a map, got %s", k)}
	}
	read := &reading{mode: m}
	v := read.object(c.t.schema, n, foreign)
	if len(read.problems.Errors()) > 0 {
		return read.problems
	}
	text, err := encode(v)
	if err != nil {
		return append(read.problems, n.Errorf("%v", err))
	}
	c.json, c.lines = text, linesOf(n)
	return append(read.problems, c.ask(n, m)...)
}

// ask has the process check the configuration. Without a process the schema's
// word stands.
func (c *config) ask(n conf.Node, m conf.Mode) conf.Problems {
	client := c.r.attached()
	if client == nil {
		return conf.Problems{n.Warnf("plugin %q is not running: checked by its schema only", c.r.name)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkWait)
	defer cancel()
	reply, err := client.Check(ctx, &pb.Instance{Kind: c.t.Kind, Type: c.t.Type.Type, Config: c.json})
	if err != nil {
		err = control(err)
		if errors.Is(err, framework.ErrUnavailable) || errors.Is(err, framework.ErrTimeout) {
			return conf.Problems{n.Warnf("plugin %q: %v: checked by its schema only", c.r.name, err)}
		}
		return conf.Problems{n.Errorf("plugin %q: %v", c.r.name, err)}
	}
	var out conf.Problems
	for _, p := range reply.Problems {
		at := n
		if p.Path != "" {
			at = n.Find(p.Path, m)
		}
		if p.Warning {
			out = append(out, at.Warnf("%s", printable([]byte(p.Message))))
		} else {
			out = append(out, at.Errorf("%s", printable([]byte(p.Message))))
		}
	}
	return out
}

var _ conf.NodeReader = (*config)(nil)

// milliseconds is d on the wire.
func milliseconds(d time.Duration) uint32 { return uint32(min(max(d.Milliseconds(), 0), 1<<31)) }

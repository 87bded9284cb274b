package control

import (
	"context"
	"net/netip"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/kernel"
)

// Explain says where a flow would go, as rest.Explainer.
func (c *Controller) Explain(ctx context.Context, q rest.ExplainQuery) rest.Explanation {
	return explain(ctx, c.Kernel, q)
}

func explain(ctx context.Context, k *kernel.Kernel, q rest.ExplainQuery) rest.Explanation {
	query := dispatch.Query{Flow: q.Flow, Address: q.Address}
	if q.Process != "" {
		query.Process = &framework.Process{Path: q.Process, UID: -1}
	}
	found := k.Explain(ctx, query)
	e := rest.Explanation{Mode: found.Mode.String(), Host: found.To.Host, IP: addressText(found.IP), Rule: -1,
		Proxy: found.Target, Chains: found.Chain, Error: errorText(found.Err), TookNS: int64(found.Took)}
	if r := found.Rule; r != nil {
		e.Rule, e.Type, e.Payload = r.Index, r.Label, r.Payload
	}
	for _, s := range found.Steps {
		e.Steps = append(e.Steps, explainStep(s))
	}
	return e
}

func explainStep(s dispatch.Step) rest.ExplainStep {
	out := rest.ExplainStep{Outcome: string(s.Outcome), List: s.List, Depth: s.Depth, Index: s.First, Last: s.Last,
		Disabled: s.Disabled, Entry: s.Entry, IP: addressText(s.IP), Chains: s.Chain, Error: errorText(s.Err), TookNS: int64(s.Took)}
	if r := s.Rule; r != nil {
		out.Type, out.Payload, out.Proxy = r.Label, r.Payload, r.Target
	}
	return out
}

func addressText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

package kernel

import (
	"context"
	"net/netip"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dispatch"
)

// Explain says where a flow would go. A document must be in force, or
// rehearsed.
func (k *Kernel) Explain(ctx context.Context, q dispatch.Query) dispatch.Explanation {
	return k.dispatcher.Explain(ctx, q)
}

// Rehearse makes doc what Explain answers for, and no more: nothing listens,
// no member is tested, and no name resolves. It is for a Kernel that applies
// nothing.
func (k *Kernel) Rehearse(ctx context.Context, doc *configs.Document) error {
	return k.withPlugins(ctx, doc, true, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		p := k.check(doc)
		if err := p.problems.Err(); err != nil {
			return err
		}
		next, err := k.build(ctx, p)
		if err != nil {
			return err
		}
		k.enforce(&General{doc.Ports, doc.General})
		k.publish(p, next, nil)
		k.nodes = next
		offline := *k.Snapshot()
		offline.Resolver = noNames{}
		k.dispatcher.Publish(&offline)
		return nil
	})
}

// noNames resolves nothing.
type noNames struct{}

func (noNames) Lookup(context.Context, string) ([]netip.Addr, error) {
	return nil, framework.ErrUnreachable
}

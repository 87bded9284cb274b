package dialer

import (
	"context"
	"net"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
)

// System resolves as the machine does: its hosts file and the servers that it
// is configured with. It keeps no answers. The zero value is ready.
type System struct{}

// Lookup finds the addresses of host, in the order of the system's preference.
func (System) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true}
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		class := framework.Classify(err)
		if class == nil {
			class = framework.ErrUnreachable
		}
		return nil, framework.Classed(class, err)
	}
	for i, ip := range ips {
		ips[i] = ip.Unmap()
	}
	return ips, nil
}

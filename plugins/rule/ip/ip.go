// Package ip has the rules that look at addresses: IP-CIDR, IP-CIDR6,
// SRC-IP-CIDR, IP-SUFFIX and SRC-IP-SUFFIX (config-rules.md §2). Whether a name is resolved for them is the
// router's business: it knows CapNeedIP and the parameter no-resolve.
package ip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

var (
	errEmpty = errors.New("payload is empty")
	errMask  = errors.New("a prefix needs a mask, as in 192.0.2.0/24")
)

// Descriptors describes the rules of the family.
func Descriptors() []framework.Descriptor {
	beta, need := framework.WithStability(framework.Beta), framework.WithCaps(framework.CapNeedIP)
	summary := framework.WithSummary("the destination's address is in this prefix")
	return []framework.Descriptor{
		framework.NewRule("IP-CIDR", "IPCIDR", newDestination, beta, need, summary),
		framework.NewRule("IP-CIDR6", "IPCIDR", newDestination, beta, need, summary),
		framework.NewRule("SRC-IP-CIDR", "SrcIPCIDR", newSource, beta,
			framework.WithSummary("the source's address is in this prefix")),
		framework.NewRule("IP-SUFFIX", "IPSuffix", newSuffix, beta, need,
			framework.WithSummary("the destination's address ends with these bits")),
		framework.NewRule("SRC-IP-SUFFIX", "SrcIPSuffix", newSourceSuffix, beta,
			framework.WithSummary("the source's address ends with these bits")),
	}
}

// prefix is a payload. Its host bits stay as written, for the API shows them.
type prefix struct{ netip.Prefix }

// PayloadText implements framework.PayloadTexter.
func (p prefix) PayloadText() string { return p.String() }

func parse(payload string) (prefix, error) {
	s := strings.TrimSpace(payload)
	switch {
	case s == "":
		return prefix{}, errEmpty
	case !strings.Contains(s, "/"):
		return prefix{}, fmt.Errorf("prefix %q: %w", payload, errMask)
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix{}, fmt.Errorf("%q is not a prefix", payload)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 { // flows have IPv4 addresses unmapped
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return prefix{p}, nil
}

type destination struct{ prefix }

func newDestination(a framework.RuleArgs) (framework.Rule, error) {
	if slices.Contains(a.Params, "src") {
		return newSource(a)
	}
	p, err := parse(a.Payload)
	return destination{p}, err
}

// Match implements framework.Rule.
func (r destination) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	ip, ok := facts.IP()
	return ok && r.Contains(plain(ip)), nil
}

// Index implements framework.Indexer.
func (r destination) Index() []framework.Key {
	return []framework.Key{{Fact: framework.FactDestination, Prefix: r.Prefix}}
}

type source struct{ prefix }

func newSource(a framework.RuleArgs) (framework.Rule, error) {
	p, err := parse(a.Payload)
	return source{p}, err
}

// Match implements framework.Rule.
func (r source) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return r.Contains(plain(f.Source.Addr())), nil
}

// Index implements framework.Indexer.
func (r source) Index() []framework.Key {
	return []framework.Key{{Fact: framework.FactSource, Prefix: r.Prefix}}
}

// plain is ip in the form that prefixes can contain: no zone, not mapped.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

package ip

import (
	"net/netip"
	"slices"

	"github.com/culvert-proxy/culvert/framework"
)

// tail is the payload addr/bits of a suffix rule: the last bits of an address
// of the same family equal those of addr.
type tail struct{ prefix }

// has compares whole bytes from the end and the rest of the one before.
func (s tail) has(ip netip.Addr) bool {
	ip = plain(ip)
	if ip.BitLen() != s.Addr().BitLen() {
		return false
	}
	a, b := ip.As16(), s.Addr().As16()
	whole, rest := s.Bits()/8, s.Bits()%8
	for i := range whole {
		if a[15-i] != b[15-i] {
			return false
		}
	}
	return rest == 0 || (a[15-whole]^b[15-whole])<<(8-rest) == 0
}

type destinationTail struct{ tail }

func newSuffix(a framework.RuleArgs) (framework.Rule, error) {
	if slices.Contains(a.Params, "src") {
		return newSourceSuffix(a)
	}
	p, err := parse(a.Payload)
	return destinationTail{tail{p}}, err
}

// Match implements framework.Rule.
func (r destinationTail) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	ip, ok := facts.IP()
	return ok && r.has(ip), nil
}

type sourceTail struct{ tail }

func newSourceSuffix(a framework.RuleArgs) (framework.Rule, error) {
	p, err := parse(a.Payload)
	return sourceTail{tail{p}}, err
}

// Match implements framework.Rule.
func (r sourceTail) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return r.has(f.Source.Addr()), nil
}

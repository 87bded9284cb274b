package dispatch

import (
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
)

// Processes finds the programs that flows belong to.
type Processes interface {
	// Process is the program that opened f, false when that is not known or
	// not wanted.
	Process(f *framework.Flow) (framework.Process, bool)
	// Always says whether each flow is asked about, and not only those whose
	// rules need it.
	Always() bool
}

// owner is the program of a flow, looked up once.
type owner struct {
	process     framework.Process
	asked, know bool
}

// InCountry implements framework.GeoFacts.
func (v *visit) InCountry(ip netip.Addr, code string) bool {
	return v.snap.Geo != nil && v.snap.Geo.InCountry(ip, code)
}

// ASN implements framework.GeoFacts.
func (v *visit) ASN(ip netip.Addr) (framework.ASN, bool) {
	if v.snap.Geo == nil {
		return framework.ASN{}, false
	}
	return v.snap.Geo.ASN(ip)
}

// Process implements framework.ProcessFacts.
func (v *visit) Process() (framework.Process, bool) {
	if !v.owner.asked {
		v.owner.asked = true
		if v.snap.Processes != nil {
			v.owner.process, v.owner.know = v.snap.Processes.Process(v.flow)
		}
	}
	return v.owner.process, v.owner.know
}

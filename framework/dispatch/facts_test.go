package dispatch

import (
	"net/netip"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// known is given data that counts how often it is asked for a program.
type known struct{ asked int }

func (k *known) Process(*framework.Flow) (framework.Process, bool) {
	k.asked++
	return framework.Process{Path: "/usr/bin/curl", UID: 7}, true
}

func (k *known) Always() bool { return false }

func (k *known) InCountry(_ netip.Addr, code string) bool { return code == "aa" }

func (k *known) ASN(netip.Addr) (framework.ASN, bool) { return framework.ASN{Number: 7}, true }

func TestFactsComeFromTheSnapshotAndProgramsOnceAFlow(t *testing.T) {
	t.Parallel()
	k := &known{}
	v := &visit{snap: &Snapshot{Geo: k, Processes: k}, flow: &framework.Flow{}, port: &Port{}, node: &Node{Name: "a", self: []string{"a"}}}

	for range 2 {
		if p, ok := v.Process(); !ok || p.Name() != "curl" {
			t.Errorf("got %v, %v", p, ok)
		}
	}

	asn, ok := v.ASN(netip.Addr{})
	if !v.InCountry(netip.Addr{}, "aa") || v.InCountry(netip.Addr{}, "bb") || !ok || asn.Number != 7 || k.asked != 1 {
		t.Errorf("asn %v, asked %d times", asn, k.asked)
	}
	var f stats.Flow
	v.fill(&f)
	if f.Process != "curl" || f.ProcessPath != "/usr/bin/curl" || f.UID != 7 {
		t.Errorf("the entry has %q %q %d", f.Process, f.ProcessPath, f.UID)
	}
}

func TestFactsWithoutDataAreUnknown(t *testing.T) {
	t.Parallel()
	v := &visit{snap: &Snapshot{}, flow: &framework.Flow{}}

	_, asn := v.ASN(netip.Addr{})
	_, process := v.Process()

	if v.InCountry(netip.Addr{}, "aa") || asn || process {
		t.Error("something is known")
	}
}

package framework

import (
	"net/netip"
	"path"
	"strings"
)

// GeoFacts are Facts that know where addresses belong. The kernel's Facts are
// GeoFacts; a rule in another process gets Facts that are not.
type GeoFacts interface {
	// InCountry says whether ip belongs to code, in lower case, by the data
	// that Geo.NeedCountry asked for; "!cn" is all that does not belong to cn.
	InCountry(ip netip.Addr, code string) bool
	// ASN is the autonomous system that announces ip.
	ASN(ip netip.Addr) (ASN, bool)
}

// ASN is an autonomous system.
type ASN struct {
	Number uint32
	Org    string
}

// ProcessFacts are Facts that know whose a flow is, as the kernel's do.
type ProcessFacts interface {
	// Process is the program on this machine that opened the flow. It is
	// looked up once a flow; false when there is none or it cannot be found.
	Process() (Process, bool)
}

// Process is a program that runs on this machine.
type Process struct {
	Path string // of its file, "" when only the user is known
	UID  int64  // of its user, -1 where the system has no such number
}

// Name is the last element of Path, of either system's way to write one.
func (p Process) Name() string { return path.Base(strings.ReplaceAll(p.Path, `\`, "/")) }

// GeoHost is a Host that has the kernel's country and site data; the kernel's
// is one for rules.
type GeoHost interface{ Geo() Geo }

// Geo is the kernel's country and site data, asked for when a rule is made.
// What is absent or broken is an error for those who ask for it only.
type Geo interface {
	// NeedCountry makes sure that GeoFacts.InCountry can tell code, which is
	// in lower case. size is the number of its prefixes, 0 when the data is
	// not kept by code. ErrUnsupported is for a "!" that this data cannot do.
	NeedCountry(code string) (size int, err error)
	// NeedASN makes sure that GeoFacts.ASN can tell.
	NeedASN() error
	// Sites is a list of names: "list", "list@attribute", or "!list" for all
	// names that are not in it, in any letter case. It follows updates.
	Sites(list string) (Sites, error)
}

// Sites is a list of names. It is safe for concurrent use.
type Sites interface {
	// Has says whether host, in lower case, is in the list; "" never is.
	Has(host string) bool
	// Entry is the entry that matches host, "" when none does.
	Entry(host string) string
	Len() int
}

// Warner is a Rule whose payload is right and yet not what its writer will
// have meant. Warning is "" when there is nothing to say.
type Warner interface{ Warning() string }

// Sizer is a Rule over data of the kernel's. Size is how many entries it has.
type Sizer interface{ Size() int }

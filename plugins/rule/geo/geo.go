// Package geo has the rules that need the kernel's country, network and site
// data: GEOIP, SRC-GEOIP, IP-ASN, SRC-IP-ASN and GEOSITE (config-rules.md §2).
// The data is asked for when a rule is made, so that what is missing is an
// error of that rule; what it says of a flow comes through Facts, and follows
// updates of the data.
package geo

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

var (
	errEmpty  = errors.New("payload is empty")
	errNoData = errors.New("there is no geo data here")
)

// Descriptors describes the rules of the family.
func Descriptors() []framework.Descriptor {
	beta, need := framework.WithStability(framework.Beta), framework.WithCaps(framework.CapNeedIP)
	return []framework.Descriptor{
		framework.NewRuleWith("GEOIP", "GeoIP", newCountry, beta, need,
			framework.WithSummary("the destination's address is in this country, or local for lan")),
		framework.NewRuleWith("SRC-GEOIP", "SrcGeoIP", newSourceCountry, beta,
			framework.WithSummary("the source's address is in this country, or local for lan")),
		framework.NewRuleWith("IP-ASN", "IPASN", newASN, beta, need,
			framework.WithSummary("this network announces the destination's address")),
		framework.NewRuleWith("SRC-IP-ASN", "SrcIPASN", newSourceASN, beta,
			framework.WithSummary("this network announces the source's address")),
		framework.NewRuleWith("GEOSITE", "GeoSite", newSites, beta,
			framework.WithSummary("the host is in this list of sites")),
	}
}

// data is the kernel's data; nil without a host, where only the payload is
// checked.
func data(h framework.Host) (framework.Geo, error) {
	if h == nil {
		return nil, nil
	}
	if g, ok := h.(framework.GeoHost); ok {
		if geo := g.Geo(); geo != nil {
			return geo, nil
		}
	}
	return nil, errNoData
}

// side is whose address a rule looks at.
type side bool

const (
	destination side = false
	source      side = true
)

// sideOf is the source where the parameters say so.
func sideOf(params []string) side { return side(slices.Contains(params, "src")) }

func (s side) address(f *framework.Flow, facts framework.Facts) (netip.Addr, bool) {
	if s == source {
		ip := f.Source.Addr()
		return ip.Unmap(), ip.IsValid()
	}
	ip, ok := facts.IP()
	return ip.Unmap(), ok
}

// country is GEOIP: a code of the data.
type country struct {
	side
	code    string
	size    int
	warning string
}

func newCountry(h framework.Host, a framework.RuleArgs) (framework.Rule, error) {
	return makeCountry(h, a, sideOf(a.Params))
}

func newSourceCountry(h framework.Host, a framework.RuleArgs) (framework.Rule, error) {
	return makeCountry(h, a, source)
}

func makeCountry(h framework.Host, a framework.RuleArgs, s side) (framework.Rule, error) {
	code := strings.ToLower(strings.TrimSpace(a.Payload))
	switch code {
	case "", "!":
		return nil, errEmpty
	case "lan":
		return lan{s}, nil
	}
	geo, err := data(h)
	if err != nil || geo == nil {
		return country{side: s, code: code}, err
	}
	r := country{side: s, code: code}
	if r.size, err = geo.NeedCountry(code); errors.Is(err, framework.ErrUnsupported) {
		r.warning, err = err.Error()+": this rule never holds", nil
	}
	return r, err
}

// Match implements framework.Rule.
func (r country) Match(f *framework.Flow, facts framework.Facts) (bool, error) {
	ip, ok := r.address(f, facts)
	g, knows := facts.(framework.GeoFacts)
	return ok && knows && g.InCountry(ip, r.code), nil
}

// PayloadText implements framework.PayloadTexter.
func (r country) PayloadText() string { return r.code }

// Size implements framework.Sizer.
func (r country) Size() int { return r.size }

// Warning implements framework.Warner.
func (r country) Warning() string { return r.warning }

// lan is GEOIP,lan: addresses that are no public ones. It needs no data.
type lan struct{ side }

// Match implements framework.Rule.
func (r lan) Match(f *framework.Flow, facts framework.Facts) (bool, error) {
	ip, ok := r.address(f, facts)
	return ok && (ip.IsPrivate() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast()), nil
}

// PayloadText implements framework.PayloadTexter.
func (lan) PayloadText() string { return "lan" }

// Size implements framework.Sizer.
func (lan) Size() int { return 0 }

// asn is IP-ASN: the number of a network.
type asn struct {
	side
	number uint32
	text   string
}

func newASN(h framework.Host, a framework.RuleArgs) (framework.Rule, error) {
	return makeASN(h, a, sideOf(a.Params))
}

func newSourceASN(h framework.Host, a framework.RuleArgs) (framework.Rule, error) {
	return makeASN(h, a, source)
}

func makeASN(h framework.Host, a framework.RuleArgs, s side) (framework.Rule, error) {
	text := strings.TrimSpace(a.Payload)
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not the number of a network, as in 13335", a.Payload)
	}
	geo, err := data(h)
	if err == nil && geo != nil {
		err = geo.NeedASN()
	}
	return asn{s, uint32(n), text}, err
}

// Match implements framework.Rule.
func (r asn) Match(f *framework.Flow, facts framework.Facts) (bool, error) {
	ip, ok := r.address(f, facts)
	g, knows := facts.(framework.GeoFacts)
	if !ok || !knows {
		return false, nil
	}
	got, ok := g.ASN(ip)
	return ok && got.Number == r.number, nil
}

// PayloadText implements framework.PayloadTexter.
func (r asn) PayloadText() string { return r.text }

// sites is GEOSITE: a list of names.
type sites struct {
	list framework.Sites
	text string
}

func newSites(h framework.Host, a framework.RuleArgs) (framework.Rule, error) {
	r := sites{text: strings.TrimSpace(a.Payload)}
	name, attrs, has := strings.Cut(strings.TrimPrefix(r.text, "!"), "@")
	if strings.TrimSpace(name) == "" || has && strings.TrimSpace(attrs) == "" {
		return nil, errEmpty
	}
	geo, err := data(h)
	if err == nil && geo != nil {
		r.list, err = geo.Sites(r.text)
	}
	return r, err
}

// Match implements framework.Rule.
func (r sites) Match(_ *framework.Flow, facts framework.Facts) (bool, error) {
	return r.list != nil && r.list.Has(facts.Host()), nil
}

// PayloadText implements framework.PayloadTexter.
func (r sites) PayloadText() string { return r.text }

// Entry implements framework.EntryNamer.
func (r sites) Entry(_ *framework.Flow, facts framework.Facts) string {
	if r.list == nil {
		return ""
	}
	return r.list.Entry(facts.Host())
}

// Size implements framework.Sizer.
func (r sites) Size() int {
	if r.list == nil {
		return 0
	}
	return r.list.Len()
}

// Warning implements framework.Warner.
func (r sites) Warning() string {
	if r.list == nil || r.list.Len() > 0 {
		return ""
	}
	return fmt.Sprintf("no name in the list has these attributes: %s", r.text)
}

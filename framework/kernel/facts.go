package kernel

import (
	"net/netip"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/geo"
	"github.com/culvert-proxy/culvert/framework/process"
	"github.com/culvert-proxy/culvert/framework/route"
)

// ruleHost is the Host of rules: they may ask for geo data too.
type ruleHost struct {
	*host
	view geo.View
}

// Geo implements framework.GeoHost.
func (h ruleHost) Geo() framework.Geo { return h.view }

// ruleCatalog finds rule types and gives them a Host of their own, one for all
// rules of a type.
type ruleCatalog struct {
	k     *Kernel
	view  geo.View
	hosts map[string]ruleHost
}

func (c ruleCatalog) Lookup(kind framework.Kind, typ string) (framework.Descriptor, bool) {
	d, ok := c.k.Catalog.Lookup(kind, typ)
	if !ok {
		return d, false
	}
	h, ok := c.hosts[typ]
	if !ok {
		h = ruleHost{c.k.host(kind, typ, d), c.view}
		c.hosts[typ] = h
	}
	return d.With(h), true
}

// eachRule calls f with all rules of a table.
func eachRule(t *route.Table, subs []string, f func(list string, r *route.Rule)) {
	for _, r := range t.Main().Rules() {
		f("", r)
	}
	for _, name := range subs {
		for _, r := range t.Sub(name).Rules() {
			f(name, r)
		}
	}
}

// processes finds the programs of flows, as far as find-process-mode says.
type processes struct {
	k      *Kernel
	finder process.Finder
}

func (p *processes) mode() string {
	if g := p.k.general.Load(); g != nil {
		return strings.ToLower(g.FindProcessMode)
	}
	return "off"
}

// Always implements dispatch.Processes.
func (p *processes) Always() bool { return p.mode() == "always" }

// Process implements dispatch.Processes. The client's socket is connected to
// the inbound; where the inbound has no address of its own, as with a TUN
// device, to the destination.
func (p *processes) Process(f *framework.Flow) (framework.Process, bool) {
	if p.mode() == "off" {
		return framework.Process{}, false
	}
	peer := f.Inbound.Local
	if !peer.IsValid() && f.Destination.IP.IsValid() {
		peer = netip.AddrPortFrom(f.Destination.IP, f.Destination.Port)
	}
	got, err := p.finder.Find(process.Query{Network: f.Network, Source: f.Source, Peer: peer})
	return got, err == nil
}

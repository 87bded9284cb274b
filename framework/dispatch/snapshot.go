package dispatch

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/route"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// Snapshot is all that flows look at: the rules and the names that they lead
// to. It is immutable once published; the kernel replaces it whole.
type Snapshot struct {
	Rules    *route.Table
	Nodes    map[string]*Node // outbounds and groups by name
	Hosts    Hosts
	Resolver framework.Resolver // for rules that need an address, and for packets

	Geo       framework.GeoFacts // where addresses belong; nil knows nothing
	Processes Processes          // whose flows are; nil knows nothing
}

// Hosts is the `hosts:` section.
type Hosts interface {
	// Lookup follows aliases from host. name is where they end (host itself
	// without one); ips are its addresses, nil when they are not listed here.
	Lookup(host string) (name string, ips []netip.Addr)
}

// Node is a configured outbound or group: what a name leads to. Its fields are
// fixed. It outlives snapshots while it is leased.
type Node struct {
	Name      string
	Type      framework.Descriptor
	Provider  string // the proxy provider that it came from, "" for none
	Packets   bool   // an outbound that carries packets
	NoPackets bool   // a group with disable-udp

	Outbound framework.Outbound // nil for a group
	Group    framework.Group    // nil for an outbound
	Members  framework.Members  // of a group

	Dials *stats.Histogram // of an outbound
	Lease Lease

	self []string // the chain of a flow that goes straight here
}

// NewOutbound makes the Node of an outbound.
func NewOutbound(name string, d framework.Descriptor, out framework.Outbound, s *stats.Stats) *Node {
	packets := d.Has(framework.CapPacket)
	if c, ok := out.(framework.PacketCarrier); ok {
		packets = c.CarriesPackets()
	}
	return &Node{Name: name, Type: d, Outbound: out, Packets: packets, Dials: s.Dial(d.Type), self: []string{name}}
}

// NewGroup makes the Node of a group.
func NewGroup(name string, d framework.Descriptor, g framework.Group, m framework.Members) *Node {
	return &Node{Name: name, Type: d, Group: g, Members: m, self: []string{name}}
}

// maxDepth bounds groups within groups; chosen: more than any file nests, and
// a bound on what a cycle can cost.
const maxDepth = 16

var (
	errDeep      = errors.New("groups nest deeper than 16")
	errNoAddress = errors.New("the name has no address")
	errRetired   = errors.New("the outbound was just taken out")
)

// exit walks from a name through groups to the outbound. passed receives the
// groups on the way, outermost first; it is appended to and returned.
func (s *Snapshot) exit(name string, f *framework.Flow, passed []*Node) (*Node, []*Node, error) {
	for range maxDepth {
		n := s.Nodes[name]
		if n == nil {
			return nil, passed, framework.Classed(framework.ErrUnavailable, fmt.Errorf("proxy %q is not configured", name))
		}
		if n.Group == nil {
			return n, passed, nil
		}
		passed = append(passed, n)
		next, err := n.Group.Pick(f, n.Members)
		if err != nil {
			return nil, passed, fmt.Errorf("group %q: %w", n.Name, err)
		}
		name = next
	}
	return nil, passed, framework.Classed(framework.ErrUnavailable, errDeep)
}

// Now is the member that the group at name would pick for no flow in
// particular, "" when name is no group.
func (s *Snapshot) Now(name string) string {
	n := s.Nodes[name]
	if n == nil || n.Group == nil {
		return ""
	}
	now, err := n.Group.Pick(&framework.Flow{Network: framework.TCP}, n.Members)
	if err != nil {
		return ""
	}
	return now
}

// Exit is the outbound that name leads to now, through groups.
func (s *Snapshot) Exit(name string) (*Node, error) {
	n, _, err := s.exit(name, &framework.Flow{Network: framework.TCP}, nil)
	return n, err
}

// CarriesPackets says whether a UDP flow that is sent to name finds an
// outbound for it now.
func (s *Snapshot) CarriesPackets(name string) bool {
	n, passed, err := s.exit(name, &framework.Flow{Network: framework.UDP}, nil)
	return err == nil && carries(n, passed)
}

// carries says whether packets may take the way through passed to exit.
func carries(exit *Node, passed []*Node) bool {
	for _, g := range passed {
		if g.NoPackets {
			return false
		}
	}
	return exit.Packets
}

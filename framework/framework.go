// Package framework is the contract between the kernel and its plugins:
// interfaces, value types and Descriptors. It uses the standard library only
// and keeps no state. What a plugin author needs is in this package; how the
// kernel keeps its side is in the packages below it.
package framework

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Kind is one of the six kinds of plugin.
type Kind string

// The kinds. A name in the configuration is unique among outbounds and groups.
const (
	KindOutbound  Kind = "outbound"
	KindInbound   Kind = "inbound"
	KindGroup     Kind = "group"
	KindRule      Kind = "rule"
	KindFetcher   Kind = "fetcher"
	KindTransport Kind = "transport"
)

// Dialer opens streams and packet sessions. An Outbound and Host.Dialer both
// are one, so they chain without adapters. It is safe for concurrent use.
// Errors belong to one of the classes of this package. A context that ends
// stops the dial, not the connection that it made.
type Dialer interface {
	DialStream(ctx context.Context, to Addr) (net.Conn, error)
	// DialPacket opens a session that may write to many peers; to is the first.
	DialPacket(ctx context.Context, to Addr) (PacketConn, error)
}

// PacketConn carries datagrams to and from many peers. One goroutine reads
// while others may write. A buffer is not kept after the call.
type PacketConn interface {
	// ReadPacket reads one datagram into b and says who sent it. A datagram
	// longer than b is cut to len(b), as recvfrom(2) does; n is what was kept.
	// After Close it returns net.ErrClosed.
	ReadPacket(b []byte) (n int, from Addr, err error)
	// WritePacket sends b as one datagram.
	WritePacket(b []byte, to Addr) (n int, err error)
	SetReadDeadline(t time.Time) error
	Close() error
}

// Outbound reaches destinations through one protocol and one server.
type Outbound interface {
	Dialer
	io.Closer
}

// PacketCarrier is an Outbound that knows from its configuration whether it
// carries packets. Without it the Descriptor's CapPacket decides.
type PacketCarrier interface{ CarriesPackets() bool }

// Inbound accepts flows and hands each to the Handler; it keeps none.
//
// New makes it without touching the network. Start binds its sockets through
// Host.Listen and returns; the inbound serves from then on in goroutines of
// its own. Close ends accepting and returns when those goroutines ended; flows
// that were handed over live on.
type Inbound interface {
	Start(ctx context.Context, h Handler) error
	io.Closer
}

// Handler takes what an inbound accepted, and closes it when it has ended.
// HandleStream returns when the flow is on its way or was refused, so that the
// inbound's goroutine can end; HandlePackets returns when the server has ended.
type Handler interface {
	HandleStream(ctx context.Context, s Stream, f *Flow)
	HandlePackets(ctx context.Context, s PacketServer, o Origin)
}

// Stream is an accepted stream. Conn is raw where it can be, so that the
// kernel may splice it; Head holds bytes that the inbound read from Conn past
// its own handshake, and the receiver owns it.
type Stream struct {
	Conn   net.Conn
	Head   []byte
	Client Replier // nil when the client waits for no answer
}

// Replier tells the client how the dial ended. The kernel calls Reply once,
// before any byte of the server's goes to Conn: with nil when the way is open,
// else with the dial's error. An error from Reply ends the flow.
type Replier interface{ Reply(err error) error }

// PacketServer is an inbound's side of packet flows: one socket, many sources.
// One goroutine reads while others may write.
type PacketServer interface {
	// ReadPacket reads one datagram's payload into b and fills m. It skips
	// what is no valid packet; an error ends the server. Addresses in m are
	// unmapped; a host name in m may be kept.
	ReadPacket(b []byte, m *PacketMeta) (n int, err error)
	// WritePacket sends b to the client at source, as coming from from.
	WritePacket(b []byte, source netip.AddrPort, from Addr) error
	Close() error
}

// PacketMeta says where a datagram came from and where it goes.
type PacketMeta struct {
	Source      netip.AddrPort
	Destination Addr
	User        string // "" unless the client said who it is
	DSCP        uint8
}

// Group picks a member for a flow. It never dials: the kernel does, and tells
// it how that went, so a group holds policy and nothing else. Pick is on the
// flow path: it neither blocks nor keeps f.
type Group interface {
	Pick(f *Flow, m Members) (name string, err error)
	Report(name string, r Result)
}

// Selector is a Group whose member a user can set. Select fails with
// ErrNotMember for a name outside the members; "" clears the choice.
type Selector interface {
	Select(name string, m Members) error
	Selected() string // the choice, "" when none was made
}

// Members is what a group may know of its members. It is safe for concurrent
// use and allocates nothing.
type Members interface {
	Names() []string // in order, never empty; not to be changed
	// Health is what the tests of a member with url found. Tests of groups that
	// are members went through them.
	Health(name, url string) Health
	// CarriesPackets says whether a UDP flow through the member finds an
	// outbound for it.
	CarriesPackets(name string) bool
	// Changes moves whenever one of the other methods may answer differently,
	// so that a group may keep what it worked out until then.
	Changes() uint64
}

// Health is what the tests of a member with one URL found.
type Health struct {
	// Alive is the outcome of the last test with the URL, else of the last with
	// any URL; true before the first.
	Alive bool
	Tests []Tested // with the URL: the last 10, oldest first; not to be changed
}

// Tested is the result of one test.
type Tested struct {
	At    time.Time
	Delay time.Duration // whole milliseconds, 1 to 65535; 0 when it failed
}

// Result is how a dial through a member went.
type Result struct {
	Network Network
	Took    time.Duration
	Err     error // nil or one of the classes
}

// Rule says whether it holds for a flow. It is on the flow path: it neither
// blocks nor writes. Facts are looked up on first use.
type Rule interface {
	Match(f *Flow, facts Facts) (bool, error)
}

// PayloadTexter is a Rule that says how the REST API spells its payload.
// Without it the API shows the configured text.
type PayloadTexter interface{ PayloadText() string }

// Indexer is a Rule that holds for a flow if and only if one of its keys does.
// The router finds such rules in tables that a whole list shares, and so asks
// none that does not hold. A rule that stands for a set has many keys. Index is
// called once, after the rule is made; without keys the rule is asked like any.
type Indexer interface{ Index() []Key }

// Key is a condition on one fact of a flow. What is not known meets none.
type Key struct {
	Fact      Fact
	Name      string       // for the facts that are text
	Prefix    netip.Prefix // for addresses; an address is compared unmapped and without its zone
	Low, High uint16       // for numbers, both included
}

// Fact is what a Key looks at.
type Fact uint8

// The facts; one that tells fewer flows apart comes later.
const (
	FactHost            Fact = iota + 1 // Facts.Host is Name
	FactHostSuffix                      // Facts.Host is Name, or ends with a dot and Name
	FactDestination                     // Facts.IP is in Prefix
	FactSource                          // the source's address is in Prefix
	FactUser                            // the inbound's user is Name
	FactDestinationPort                 // Low ≤ the port ≤ High, as all below
	FactSourcePort
	FactInbound // the inbound's name is Name
	FactInboundPort
	FactDSCP
	FactNetwork // the number of the Network
)

// EntryNamer is a Rule over many entries that can say which of them holds, ""
// when none does. It is asked for people to read, not on the flow path.
type EntryNamer interface {
	Entry(f *Flow, facts Facts) string
}

// RuleArgs is the configuration of every rule: TYPE,payload,target,params.
// The target stays with the router.
type RuleArgs struct {
	Payload string
	Params  []string
}

// Facts is what is known, or can be found out, about one flow beyond Flow.
// It belongs to the flow's goroutine.
type Facts interface {
	// Host is the name to match in lower case: the sniffed one, else the
	// destination's; "" when there is none.
	Host() string
	// IP is the destination's address when it is known already. The router
	// resolves the name before it asks a rule that has CapNeedIP.
	IP() (netip.Addr, bool)
}

// Fetcher gets a document. since is the Version that it returned last, or "".
// ErrUnchanged means that the last document still stands.
type Fetcher interface {
	Fetch(ctx context.Context, since Version) (Document, error)
}

// Version names the state of a document: an ETag, a hash, a time.
type Version string

// Document is what a Fetcher got. The receiver closes Body.
type Document struct {
	Body    io.ReadCloser
	Version Version
	Header  map[string][]string // what came with it, nil when nothing did
}

// Transport carries a protocol's bytes to its server: TLS, WebSocket, gRPC.
type Transport interface {
	DialStream(ctx context.Context, via Dialer, server Addr) (net.Conn, error)
	io.Closer
}

// Resolver finds the addresses of a host: never empty without an error, never
// a fake-IP. The order is the one to try them in.
type Resolver interface {
	Lookup(ctx context.Context, host string) ([]netip.Addr, error)
}

// Host is all that an instance may ask of the kernel. Its methods are safe for
// concurrent use and valid until the instance's Close has returned.
type Host interface {
	Name() string       // the instance's name in the configuration
	Log() *slog.Logger  // carries kind, type and name already
	Dialer() Dialer     // obeys dialer-proxy, interface-name, routing-mark
	Resolver() Resolver // the proxy-server resolver
	Dir() string        // the home directory: the instance's files are under it
	// Listen and ListenPacket bind a socket; address is ip:port. A socket that
	// another instance holds at the same address is shared with it, so that
	// the next instance takes over without a gap.
	Listen(ctx context.Context, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, address string) (net.PacketConn, error)
	// Admission says who may use an inbound at its ports.
	Admission() Admission
	Count(metric string, n uint64) // adds to culvert_plugin_<metric>_total
}

// Admission is the kernel's answer to who may come in. The answers follow
// reloads, so an inbound asks for each connection.
type Admission interface {
	// Allowed says whether a source may connect at all.
	Allowed(source netip.Addr) bool
	// Required says whether a source must give a user and password.
	Required(source netip.Addr) bool
	// Check says whether user and password are right, in constant time.
	Check(user, password string) bool
}

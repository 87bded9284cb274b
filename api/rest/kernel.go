package rest

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// The errors that a kernel returns so that an answer has the right status.
// Any other error is shown to the client as its text.
var (
	ErrNotFound    = errors.New("not found")     // no such proxy, group or provider
	ErrNotSelector = errors.New("not a select")  // Select: the proxy has no member to choose
	ErrNotFixable  = errors.New("cannot be set") // Unfix: the proxy has no pin
)

// Kernel is all that the API needs of the kernel. Stats, Logs, Configs,
// Applier, Proxies, Selector and Rules are required; the others may be nil,
// and their endpoints then say that the part is not there. All must be safe
// for concurrent use.
type Kernel struct {
	Stats    *stats.Stats
	Logs     Logs
	Configs  Configs
	Applier  Applier
	Proxies  Proxies
	Selector Selector
	Rules    Rules

	Delays         Delays
	ProxyProviders ProxyProviders
	RuleProviders  RuleProviders
	DNS            DNS
	Caches         Caches
	Storage        Storage
	Process        Process
	Geo            Geo
	Plugins        Plugins
	Explainer      Explainer
}

// Logs hands out log lines; *stats.LogStream is one.
type Logs interface {
	Subscribe(level slog.Level) (<-chan stats.Line, func())
}

// Configs reads and changes the running settings.
type Configs interface {
	// Settings are the settings in force.
	Settings() Settings
	// Patch changes what p names and keeps the rest. p is valid; a port that
	// cannot be bound is the kernel's to log and shows as 0 in Settings. An
	// error is answered 500 with its text.
	Patch(ctx context.Context, p Patch) error
}

// Applier puts a document in force.
type Applier interface {
	// Reload returns after the document is in force. After an error nothing
	// has changed; the client gets its text with status 400.
	Reload(ctx context.Context, r ReloadRequest) error
}

// ReloadRequest is a document to load: Payload when it is not empty, else the
// file at Path, else the file that the process started with.
type ReloadRequest struct {
	Path    string // absolute and within the safe paths, or ""
	Payload string // YAML
	Force   bool   // apply listeners too
}

// Proxies shows proxies and groups.
type Proxies interface {
	// Proxies are the built-ins, the configured proxies and groups, and
	// GLOBAL, in any order. Nodes of providers are not among them.
	Proxies() []Proxy
	// Proxy finds one by name, nodes of providers included.
	Proxy(name string) (Proxy, bool)
}

// Selector sets the member of a group by hand.
type Selector interface {
	// Select chooses member. Errors: ErrNotFound, ErrNotSelector,
	// framework.ErrNotMember.
	Select(ctx context.Context, group, member string) error
	// Unfix clears the pin of a url-test or fallback group, also when it has
	// none. Errors: ErrNotFound, ErrNotFixable for all other types.
	Unfix(group string) error
}

// Proxy is a proxy or a group as GET /proxies shows it.
type Proxy struct {
	Name         string
	Type         string // "Direct" "Socks5" "Selector" …, the Descriptor's Label
	UDP          bool
	XUDP         bool
	TFO          bool
	MPTCP        bool
	SMUX         bool
	UOT          bool
	Alive        bool                 // true before the first test
	History      []Delay              // the last 10 tests, oldest first; nil before any
	Extra        map[string]URLHealth // by test URL; nil before any
	Interface    string
	RoutingMark  int
	DialerProxy  string
	ProviderName string // "" for a proxy of the configuration
	ID           string // a UUID, stable for the life of the object; "" for a group
	Group        *Group // nil for a proxy that is no group
}

// Group is what a group shows beside the common keys. Which of them appear
// depends on the type; the encoder leaves out the others.
type Group struct {
	All            []string // members in order, never empty
	Now            string   // the current member; not shown for LoadBalance
	Hidden         bool
	Icon           string
	TestURL        string // "" for a select group without a URL of its own
	ExpectedStatus string // "*" when not set; not shown for Selector
	Fixed          string // the pin; shown for URLTest and Fallback
	EmptyFallback  string // "" is shown as COMPATIBLE
	Picks          uint64 // dials through the group since it was built; for the metrics
	OnlyProviders  bool   // it lists no proxies of its own: no Compatible provider is made for it
}

// Delay is the result of one test.
type Delay struct {
	Time    time.Time
	DelayMS uint16 // 0: failed
}

// URLHealth is the state of a proxy for one test URL.
type URLHealth struct {
	Alive   bool
	History []Delay // the last 10, oldest first
}

// Rules shows the rules and switches them off and on.
type Rules interface {
	// Rules are the rules in the order of evaluation.
	Rules() []Rule
	// DisableRules switches by index: true disables. Indices that no rule has
	// are ignored. It is forgotten at the next reload.
	DisableRules(map[int]bool)
}

// Rule is one rule.
type Rule struct {
	Type     string // "DomainSuffix" …, the Descriptor's Label
	Payload  string
	Target   string
	Size     int // records of a GeoIP or GeoSite rule; -1 for all other types
	Disabled bool
	Hits     uint64
	HitAt    time.Time // zero: never
	Misses   uint64
	MissAt   time.Time // zero: never
}

// Delays runs delay tests. The context's deadline is the test's timeout; a
// test records its result with the proxy.
type Delays interface {
	// ProxyDelay tests one proxy or, through its current member, a group. An
	// answer with a status outside expected is no error. A delay under 1 ms is 1.
	ProxyDelay(ctx context.Context, name, url string, expected StatusRanges) (delayMS uint16, err error)
	// GroupDelay tests all members at once and returns those that answered. A
	// url-test group uses its own URL.
	GroupDelay(ctx context.Context, group, url string, expected StatusRanges) (map[string]uint16, error)
}

// StatusRanges are HTTP statuses, both ends included; nil is any status.
type StatusRanges []StatusRange

// StatusRange is one range of statuses.
type StatusRange struct{ Low, High uint16 }

// Has says whether a status is in one of the ranges.
func (r StatusRanges) Has(status uint16) bool {
	for _, one := range r {
		if status >= one.Low && status <= one.High {
			return true
		}
	}
	return len(r) == 0
}

// ProxyProviders shows providers of proxies, Compatible ones excepted: those
// are made here from the groups.
type ProxyProviders interface {
	ProxyProviders() []ProxyProvider
	// UpdateProxyProvider fetches again; after an error the old nodes stay.
	UpdateProxyProvider(ctx context.Context, name string) error
	// CheckProxyProvider returns after all nodes were tested.
	CheckProxyProvider(ctx context.Context, name string) error
}

// ProxyProvider is a provider of proxies.
type ProxyProvider struct {
	Name           string
	Vehicle        string // "HTTP" "File" "Inline"
	Proxies        []Proxy
	TestURL        string
	ExpectedStatus string // "*" when not set
	UpdatedAt      time.Time
	Subscription   *Subscription // nil when the server sent none
}

// Subscription is what a provider's server said about the account.
type Subscription struct {
	Upload, Download, Total int64 // bytes
	Expire                  int64 // Unix seconds
}

// RuleProviders shows providers of rules.
type RuleProviders interface {
	RuleProviders() []RuleProvider
	// UpdateRuleProvider fetches again; after an error the old rules stay.
	UpdateRuleProvider(ctx context.Context, name string) error
}

// RuleProvider is a provider of rules.
type RuleProvider struct {
	Name      string
	Vehicle   string // "HTTP" "File" "Inline"
	Behavior  string // "Domain" "IPCIDR" "Classical"
	Format    string // "YamlRule" "TextRule" "MrsRule", "" for Inline
	Count     int
	UpdatedAt time.Time
	Payload   []string // Inline only
}

// DNS asks the kernel's resolver. name ends in a dot; qtype is the number of
// the record type.
type DNS interface {
	Query(ctx context.Context, name string, qtype uint16) (DNSAnswer, error)
}

// DNSAnswer is the answer to a query.
type DNSAnswer struct {
	Status                        int // rcode
	TC, RD, RA, AD, CD            bool
	Answer, Authority, Additional []DNSRecord
}

// DNSRecord is one record; Data is zone-file text.
type DNSRecord struct {
	Name string
	Type uint16
	TTL  uint32
	Data string
}

// Caches are emptied by hand.
type Caches interface {
	FlushFakeIP() error
	FlushDNS() error
}

// Storage keeps small JSON values of dashboards.
type Storage interface {
	// Get is the value, nil when there is none.
	Get(key string) ([]byte, error)
	Put(key string, value []byte) error
	// Delete removes the value, also when there is none.
	Delete(key string) error
}

// Process restarts the kernel.
type Process interface {
	// Restart begins a restart and returns; the answer is sent first.
	Restart() error
}

// Geo loads the geo databases anew.
type Geo interface {
	UpdateGeo(ctx context.Context) error
}

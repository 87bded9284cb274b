package compat_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/tests/compat"
)

// fake is a kernel in the state that the recordings show.
type fake struct {
	mu       sync.Mutex // guards settings, stored
	settings rest.Settings
	stored   map[string][]byte

	proxies   map[string]rest.Proxy
	providers []rest.ProxyProvider
	rules     []rest.Rule
	ruleProvs []rest.RuleProvider
	byName    map[string]compat.Recording
}

// proxyJSON is a proxy on the wire.
type proxyJSON struct {
	Name, Type, Interface, Icon, Now, Fixed, ID     string
	UDP, XUDP, TFO, MPTCP, SMUX, UOT, Alive, Hidden bool
	DialerProxy                                     string `json:"dialer-proxy"`
	ProviderName                                    string `json:"provider-name"`
	RoutingMark                                     int    `json:"routing-mark"`
	TestURL, ExpectedStatus, EmptyFallback          string
	All                                             []string
	History                                         []delayJSON
	Extra                                           map[string]struct {
		Alive   bool
		History []delayJSON
	}
}

type delayJSON struct {
	Time  time.Time
	Delay uint16
}

func delays(ds []delayJSON) []rest.Delay {
	list := make([]rest.Delay, len(ds))
	for i, d := range ds {
		list[i] = rest.Delay{Time: d.Time, DelayMS: d.Delay}
	}
	return list
}

func (p proxyJSON) proxy() rest.Proxy {
	q := rest.Proxy{
		Name: p.Name, Type: p.Type, UDP: p.UDP, XUDP: p.XUDP, TFO: p.TFO, MPTCP: p.MPTCP, SMUX: p.SMUX, UOT: p.UOT, Alive: p.Alive, Interface: p.Interface,
		RoutingMark: p.RoutingMark, DialerProxy: p.DialerProxy, ProviderName: p.ProviderName, ID: p.ID, History: delays(p.History), Extra: map[string]rest.URLHealth{},
	}
	for url, e := range p.Extra {
		q.Extra[url] = rest.URLHealth{Alive: e.Alive, History: delays(e.History)}
	}
	if p.All != nil {
		q.Group = &rest.Group{All: p.All, Now: p.Now, Hidden: p.Hidden, Icon: p.Icon, TestURL: p.TestURL, ExpectedStatus: p.ExpectedStatus, Fixed: p.Fixed,
			EmptyFallback: p.EmptyFallback, OnlyProviders: slices.Contains([]string{"from-file", "from-http", "from-inline"}, p.Name)}
	}
	return q
}

// body decodes the recorded answer of a name into v.
func (f *fake) body(t testing.TB, name string, v any) {
	t.Helper()
	r, ok := f.byName[name]
	if !ok {
		t.Fatalf("no recording %s", name)
	}
	if err := json.Unmarshal(r.Response.Body, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// newFake makes a kernel that answers as recorded in the named files.
func newFake(t testing.TB, all []compat.Recording, configs, rules string) *fake {
	t.Helper()
	f := &fake{stored: map[string][]byte{}, proxies: map[string]rest.Proxy{}, byName: map[string]compat.Recording{}}
	for _, r := range all {
		f.byName[r.Name] = r
	}
	f.body(t, configs, &f.settings)
	var proxies struct{ Proxies map[string]proxyJSON }
	f.body(t, "proxies-get", &proxies)
	for name, p := range proxies.Proxies {
		f.proxies[name] = p.proxy()
	}
	var providers struct {
		Providers map[string]struct {
			Name, VehicleType, TestURL, ExpectedStatus string
			UpdatedAt                                  time.Time
			Proxies                                    []proxyJSON
			SubscriptionInfo                           *rest.Subscription
		}
	}
	f.body(t, "providers-proxies", &providers)
	for _, p := range providers.Providers {
		if p.VehicleType == "Compatible" {
			continue
		}
		one := rest.ProxyProvider{Name: p.Name, Vehicle: p.VehicleType, TestURL: p.TestURL, ExpectedStatus: p.ExpectedStatus, UpdatedAt: p.UpdatedAt, Subscription: p.SubscriptionInfo}
		for _, n := range p.Proxies {
			one.Proxies = append(one.Proxies, n.proxy())
			f.proxies[n.Name] = n.proxy()
		}
		f.providers = append(f.providers, one)
	}
	f.loadRules(t, rules)
	return f
}

func (f *fake) loadRules(t testing.TB, name string) {
	var rules struct {
		Rules []struct {
			Type, Payload, Proxy string
			Size                 int
			Extra                struct {
				Disabled            bool
				HitCount, MissCount uint64
				HitAt, MissAt       time.Time
			}
		}
	}
	f.body(t, name, &rules)
	for _, r := range rules.Rules {
		f.rules = append(f.rules, rest.Rule{Type: r.Type, Payload: r.Payload, Target: r.Proxy, Size: r.Size, Hits: r.Extra.HitCount, HitAt: r.Extra.HitAt, Misses: r.Extra.MissCount, MissAt: r.Extra.MissAt})
	}
	var provs struct {
		Providers map[string]struct {
			Name, VehicleType, Behavior, Format string
			RuleCount                           int
			UpdatedAt                           time.Time
			Payload                             []string
		}
	}
	f.body(t, "rules-providers", &provs)
	for _, p := range provs.Providers {
		f.ruleProvs = append(f.ruleProvs, rest.RuleProvider{Name: p.Name, Vehicle: p.VehicleType, Behavior: p.Behavior, Format: p.Format, Count: p.RuleCount, UpdatedAt: p.UpdatedAt, Payload: p.Payload})
	}
}

func (f *fake) Settings() rest.Settings { f.mu.Lock(); defer f.mu.Unlock(); return f.settings }

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (f *fake) Patch(_ context.Context, p rest.Patch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.settings
	set(&s.Port, p.Port)
	set(&s.MixedPort, p.MixedPort)
	set(&s.Mode, p.Mode)
	set(&s.InterfaceName, p.InterfaceName)
	set(&s.FindProcessMode, p.FindProcessMode)
	set(&s.SkipAuthPrefixes, p.SkipAuthPrefixes)
	set(&s.LANAllowedIPs, p.LANAllowedIPs)
	return nil
}

// Reload refuses the documents that the recorded kernel refused, with its text.
func (f *fake) Reload(_ context.Context, r rest.ReloadRequest) error {
	for _, rec := range f.byName {
		var sent struct{ Payload string }
		var said struct{ Message string }
		if rec.Request.Method == "PUT" && json.Unmarshal(rec.Request.Body, &sent) == nil && sent.Payload != "" && sent.Payload == r.Payload &&
			json.Unmarshal(rec.Response.Body, &said) == nil && said.Message != "" {
			return errors.New(said.Message)
		}
	}
	return nil
}

func (f *fake) Proxies() (ps []rest.Proxy) {
	for _, p := range f.proxies {
		if p.ProviderName == "" {
			ps = append(ps, p)
		}
	}
	return ps
}

func (f *fake) Proxy(name string) (rest.Proxy, bool) { p, ok := f.proxies[name]; return p, ok }

func (f *fake) Select(_ context.Context, group, member string) error {
	p := f.proxies[group]
	if p.Type == "LoadBalance" {
		return rest.ErrNotSelector
	}
	if !slices.Contains(p.Group.All, member) {
		return framework.ErrNotMember
	}
	return nil
}

func (f *fake) Unfix(string) error        { return nil }
func (f *fake) Rules() []rest.Rule        { return f.rules }
func (f *fake) DisableRules(map[int]bool) {}

func (f *fake) ProxyDelay(ctx context.Context, name, url string, _ rest.StatusRanges) (uint16, error) {
	switch {
	case url == "http://127.0.0.1:29080/stall":
		<-ctx.Done()
		return 0, ctx.Err()
	case ctx.Err() != nil, name == "ss-dead", url == "", url == "ftp://x":
		return 0, framework.ErrRefused
	}
	return 40, nil
}

func (f *fake) GroupDelay(_ context.Context, group, url string, _ rest.StatusRanges) (map[string]uint16, error) {
	delays := map[string]uint16{}
	switch {
	case group == "auto":
		delays = map[string]uint16{"socks-a": 259, "socks-b": 490}
	case group == "Proxy" && url != "":
		return delays, json.Unmarshal(f.byName["group-delay-selector"].Response.Body, &delays)
	}
	return delays, nil
}

func (f *fake) ProxyProviders() []rest.ProxyProvider { return f.providers }

func (f *fake) UpdateProxyProvider(_ context.Context, name string) error {
	if name == "pfile" {
		return errors.New("open /home/kernel/pfile.yaml: no such file or directory")
	}
	return nil
}

func (f *fake) CheckProxyProvider(context.Context, string) error { return nil }
func (f *fake) RuleProviders() []rest.RuleProvider               { return f.ruleProvs }
func (f *fake) UpdateRuleProvider(context.Context, string) error { return nil }

// Query answers as the recorded resolver did.
func (f *fake) Query(_ context.Context, name string, qtype uint16) (a rest.DNSAnswer, err error) {
	for _, r := range f.byName {
		var got struct {
			Question []struct {
				Name  string
				Qtype uint16
			}
			Status int
			RD, RA bool
			Answer []rest.DNSRecord
		}
		if json.Unmarshal(r.Response.Body, &got) != nil || len(got.Question) != 1 || got.Question[0].Name != name || got.Question[0].Qtype != qtype {
			continue
		}
		return rest.DNSAnswer{Status: got.Status, RD: got.RD, RA: got.RA, Answer: got.Answer}, nil
	}
	return a, framework.ErrUnreachable
}

func (f *fake) Get(key string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored[key], nil
}

func (f *fake) Put(key string, v []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored[key] = v
	return nil
}

func (f *fake) Delete(string) error { return nil }

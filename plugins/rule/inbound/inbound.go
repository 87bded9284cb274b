// Package inbound has the rules that look at how a flow came in: IN-TYPE,
// IN-NAME and IN-USER (config-rules.md §2). Each payload lists one or more
// values with '/' between them.
package inbound

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

var errEmpty = errors.New("payload has an empty value")

// Descriptors describes the rules of the family.
func Descriptors() []framework.Descriptor {
	beta := framework.WithStability(framework.Beta)
	return []framework.Descriptor{
		framework.NewRule("IN-TYPE", "InType", newType, beta,
			framework.WithSummary("the inbound has one of these types")),
		framework.NewRule("IN-NAME", "InName", newName, beta,
			framework.WithSummary("the inbound has one of these names")),
		framework.NewRule("IN-USER", "InUser", newUser, beta,
			framework.WithSummary("the client is one of these users")),
	}
}

func split(payload string) ([]string, error) {
	values := strings.Split(payload, "/")
	for i, v := range values {
		values[i] = strings.TrimSpace(v)
		if values[i] == "" {
			return nil, errEmpty
		}
	}
	return values, nil
}

// types is what users write, and the spellings of Origin.Type that it means.
var types = map[string][]string{
	"HTTP":        {"HTTP"},
	"HTTPS":       {"HTTPS"},
	"SOCKS":       {"Socks4", "Socks5"},
	"SOCKS4":      {"Socks4"},
	"SOCKS5":      {"Socks5"},
	"SHADOWSOCKS": {"ShadowSocks"},
	"VMESS":       {"Vmess"},
	"VLESS":       {"Vless"},
	"REDIR":       {"Redir"},
	"TPROXY":      {"TProxy"},
	"TROJAN":      {"Trojan"},
	"TUNNEL":      {"Tunnel"},
	"TUN":         {"Tun"},
	"TUIC":        {"Tuic"},
	"HYSTERIA2":   {"Hysteria2"},
	"ANYTLS":      {"AnyTLS"},
	"INNER":       {"Inner"},
}

type inType struct {
	text  string
	types []string
}

func newType(a framework.RuleArgs) (framework.Rule, error) {
	values, err := split(a.Payload)
	if err != nil {
		return nil, err
	}
	r := inType{}
	for i, v := range values {
		values[i] = strings.ToUpper(v)
		means, ok := types[values[i]]
		if !ok {
			return nil, fmt.Errorf("inbound type %q is unknown", v)
		}
		r.types = append(r.types, means...)
	}
	r.text = strings.Join(values, "/")
	return r, nil
}

// Match implements framework.Rule.
func (r inType) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	for _, t := range r.types {
		if strings.EqualFold(t, f.Inbound.Type) {
			return true, nil
		}
	}
	return false, nil
}

// PayloadText implements framework.PayloadTexter.
func (r inType) PayloadText() string { return r.text }

type inName []string

func newName(a framework.RuleArgs) (framework.Rule, error) {
	values, err := split(a.Payload)
	return inName(values), err
}

// Match implements framework.Rule.
func (r inName) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return slices.Contains(r, f.Inbound.Name), nil
}

// Index implements framework.Indexer.
func (r inName) Index() []framework.Key { return keys(framework.FactInbound, r) }

type inUser []string

func newUser(a framework.RuleArgs) (framework.Rule, error) {
	values, err := split(a.Payload)
	return inUser(values), err
}

// Match implements framework.Rule.
func (r inUser) Match(f *framework.Flow, _ framework.Facts) (bool, error) {
	return slices.Contains(r, f.Inbound.User), nil
}

// Index implements framework.Indexer.
func (r inUser) Index() []framework.Key { return keys(framework.FactUser, r) }

func keys(fact framework.Fact, names []string) []framework.Key {
	list := make([]framework.Key, len(names))
	for i, name := range names {
		list[i] = framework.Key{Fact: fact, Name: name}
	}
	return list
}

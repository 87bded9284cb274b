package registry_test

import (
	"context"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/registry"
)

func describe(typ string, aliases ...string) framework.Descriptor {
	return framework.NewOutbound(typ, func() struct{} { return struct{}{} },
		func(context.Context, framework.Host, struct{}) (framework.Outbound, error) { return nil, nil },
		framework.WithAliases(aliases...))
}

func TestTypeIsFoundByNameAndAlias(t *testing.T) {
	t.Parallel()
	r, err := registry.New(describe("socks5", "socks"), describe("http"))
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"socks5", "socks"} {
		d, ok := r.Lookup(framework.KindOutbound, name)
		if !ok || d.Type != "socks5" {
			t.Errorf("Lookup(%q) = %q, %v; want socks5", name, d.Type, ok)
		}
	}
	if _, ok := r.Lookup(framework.KindInbound, "socks5"); ok {
		t.Error("an outbound was found as an inbound")
	}
	if got := len(r.List()); got != 2 {
		t.Errorf("List has %d entries, want 2: aliases are no entries", got)
	}
	if got := strings.Join(r.Types(framework.KindOutbound), " "); got != "http socks socks5" {
		t.Errorf("Types = %q", got)
	}
}

func TestTypeThatAppearsTwiceIsAnError(t *testing.T) {
	t.Parallel()
	for name, ds := range map[string][]framework.Descriptor{
		"type":  {describe("http"), describe("http")},
		"alias": {describe("socks5", "http"), describe("http")},
	} {
		if _, err := registry.New(ds...); err == nil || !strings.Contains(err.Error(), "already there") {
			t.Errorf("%s twice: error %v, want one that says so", name, err)
		}
	}
}

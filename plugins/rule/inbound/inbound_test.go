package inbound

import (
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

func TestLabelsAreTheAPIs(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{"IN-TYPE": "InType", "IN-NAME": "InName", "IN-USER": "InUser"})
}

func TestOriginMatches(t *testing.T) {
	t.Parallel()
	typ := func(s string) framework.Origin { return framework.Origin{Type: s} }
	name := func(s string) framework.Origin { return framework.Origin{Name: s} }
	user := func(s string) framework.Origin { return framework.Origin{User: s} }
	for _, c := range []struct {
		keyword, payload string
		yes, no          []framework.Origin
	}{
		{"IN-TYPE", "socks", []framework.Origin{typ("Socks4"), typ("Socks5")}, []framework.Origin{typ("HTTP"), typ("")}},
		{"IN-TYPE", "SOCKS5/Tun", []framework.Origin{typ("Socks5"), typ("Tun")}, []framework.Origin{typ("Socks4")}},
		{"IN-TYPE", "http", []framework.Origin{typ("HTTP")}, []framework.Origin{typ("HTTPS")}},
		{"IN-TYPE", "shadowsocks/tproxy", []framework.Origin{typ("ShadowSocks"), typ("TProxy")}, nil},
		{"IN-NAME", "DEFAULT-MIXED/office", []framework.Origin{name("DEFAULT-MIXED"), name("office")}, []framework.Origin{name("Office"), name("")}},
		{"IN-USER", "alice / bob", []framework.Origin{user("alice"), user("bob")}, []framework.Origin{user("Alice"), user("")}},
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c.keyword), c.payload)
		for _, o := range c.yes {
			if !ruletest.Match(t, r, &framework.Flow{Inbound: o}, ruletest.Facts{}) {
				t.Errorf("%s,%s does not hold for %+v", c.keyword, c.payload, o)
			}
		}
		for _, o := range c.no {
			if ruletest.Match(t, r, &framework.Flow{Inbound: o}, ruletest.Facts{}) {
				t.Errorf("%s,%s holds for %+v", c.keyword, c.payload, o)
			}
		}
	}
}

func TestTypeIsShownInUpperCase(t *testing.T) {
	t.Parallel()
	r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), "IN-TYPE"), "socks/Http")

	if got := ruletest.Payload(r, ""); got != "SOCKS/HTTP" {
		t.Errorf("got %q, want SOCKS/HTTP", got)
	}
}

func TestEmptyAndUnknownValuesAreRefused(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		ruletest.Refuse(t, d, "", " ", "/", "a/", "/a")
	}
	ruletest.Refuse(t, ruletest.Descriptor(t, Descriptors(), "IN-TYPE"), "mixed", "socks6")
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f := &framework.Flow{Inbound: framework.Origin{Type: "Socks5", Name: "a", User: "b"}}
	for _, d := range Descriptors() {
		ruletest.NoAllocs(t, ruletest.Build(t, d, "HTTP/SOCKS"), f, &ruletest.Facts{})
	}
}

func FuzzPayload(f *testing.F) {
	for _, s := range []string{"HTTP", "socks/tun", "a/b", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, d := range Descriptors() {
			if r, err := ruletest.Try(t, d, payload); err == nil {
				ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{})
			}
		}
	})
}

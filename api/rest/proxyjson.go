package rest

import (
	"maps"
	"slices"
	"strings"
)

// appendProxy appends a proxy or group. The keys are in the order of the
// recorded answers, which is that of the alphabet.
func appendProxy(b []byte, p *Proxy) []byte {
	g := p.Group
	b = append(b, `{"alive":`...)
	b = appendBool(b, p.Alive)
	if g != nil {
		b = appendStrings(fieldKey(b, "all"), g.All)
	}
	b = fieldString(b, "dialer-proxy", p.DialerProxy)
	if g != nil {
		b = fieldString(b, "emptyFallback", orElse(g.EmptyFallback, "COMPATIBLE"))
		if p.Type != "Selector" {
			b = fieldString(b, "expectedStatus", orElse(g.ExpectedStatus, "*"))
		}
	}
	b = appendExtra(fieldKey(b, "extra"), p.Extra)
	if g != nil {
		if pinnable(p.Type) {
			b = fieldString(b, "fixed", g.Fixed)
		}
		b = fieldBool(b, "hidden", g.Hidden)
	}
	b = appendHistory(fieldKey(b, "history"), p.History)
	if g != nil {
		b = fieldString(b, "icon", g.Icon)
	}
	if p.ID != "" {
		b = fieldString(b, "id", p.ID)
	}
	b = fieldString(b, "interface", p.Interface)
	b = fieldBool(b, "mptcp", p.MPTCP)
	b = fieldString(b, "name", p.Name)
	if g != nil && p.Type != "LoadBalance" {
		b = fieldString(b, "now", g.Now)
	}
	b = fieldString(b, "provider-name", p.ProviderName)
	b = fieldInt(b, "routing-mark", int64(p.RoutingMark))
	b = fieldBool(b, "smux", p.SMUX)
	if g != nil {
		b = fieldString(b, "testUrl", g.TestURL)
	}
	b = fieldBool(b, "tfo", p.TFO)
	b = fieldString(b, "type", p.Type)
	b = fieldBool(b, "udp", p.UDP)
	b = fieldBool(b, "uot", p.UOT)
	b = fieldBool(b, "xudp", p.XUDP)
	return append(b, '}')
}

// pinnable says whether a group of the type can be held to one member for a
// time, beside its own choice.
func pinnable(groupType string) bool { return groupType == "URLTest" || groupType == "Fallback" }

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, "true"...)
	}
	return append(b, "false"...)
}

func appendHistory(b []byte, ds []Delay) []byte {
	b = append(b, '[')
	for i, d := range ds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTime(append(b, `{"time":`...), d.Time)
		b = fieldInt(b, "delay", int64(d.DelayMS))
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendExtra(b []byte, m map[string]URLHealth) []byte {
	b = append(b, '{')
	for i, url := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, url), `:{"alive":`...)
		b = appendBool(b, m[url].Alive)
		b = appendHistory(fieldKey(b, "history"), m[url].History)
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendProxyMap appends an object of proxies by name.
func appendProxyMap(b []byte, ps []Proxy) []byte {
	slices.SortFunc(ps, func(x, y Proxy) int { return strings.Compare(x.Name, y.Name) })
	b = append(b, '{')
	for i := range ps {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, ps[i].Name), ':')
		b = appendProxy(b, &ps[i])
	}
	return append(b, '}')
}

// appendProxyList appends an array of proxies.
func appendProxyList(b []byte, ps []Proxy) []byte {
	b = append(b, '[')
	for i := range ps {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendProxy(b, &ps[i])
	}
	return append(b, ']')
}

// appendProvider appends a provider of proxies.
func appendProvider(b []byte, p *ProxyProvider) []byte {
	b = append(b, `{"name":`...)
	b = appendString(b, p.Name)
	b = fieldString(b, "type", "Proxy")
	b = fieldString(b, "vehicleType", p.Vehicle)
	b = appendProxyList(fieldKey(b, "proxies"), p.Proxies)
	b = fieldString(b, "testUrl", p.TestURL)
	b = fieldString(b, "expectedStatus", orElse(p.ExpectedStatus, "*"))
	b = fieldTime(b, "updatedAt", p.UpdatedAt)
	if s := p.Subscription; s != nil {
		b = append(b, `,"subscriptionInfo":{"Upload":`...)
		b = fieldInt(appendInt(b, s.Upload), "Download", s.Download)
		b = fieldInt(b, "Total", s.Total)
		b = append(fieldInt(b, "Expire", s.Expire), '}')
	}
	return append(b, '}')
}

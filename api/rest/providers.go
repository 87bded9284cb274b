package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	vehicleCompatible = "Compatible"
	// defaultTestURL is shown for groups that have no test URL of their own.
	defaultTestURL = "https://www.gstatic.com/generate_204"
	// checkTimeout is the time for the nodes of a Compatible provider, each;
	// the default of health checks.
	checkTimeout = 5 * time.Second
)

// allProviders are the configured providers and those that mihomo makes from
// the groups: one for each group with proxies of its own, and "default", which
// has the members of GLOBAL. Dashboards look test URLs up in them.
func (a *API) allProviders() []ProxyProvider {
	var all []ProxyProvider
	if a.ProxyProviders != nil {
		all = append(all, a.ProxyProviders.ProxyProviders()...)
	}
	taken := map[string]bool{}
	for _, p := range all {
		taken[p.Name] = true
	}
	proxies := a.Proxies.Proxies()
	byName := make(map[string]*Proxy, len(proxies))
	for i := range proxies {
		byName[proxies[i].Name] = &proxies[i]
	}
	for i := range proxies {
		p := &proxies[i]
		if p.Group == nil {
			continue
		}
		one := ProxyProvider{Name: p.Name, Vehicle: vehicleCompatible, TestURL: orElse(p.Group.TestURL, defaultTestURL), ExpectedStatus: p.Group.ExpectedStatus}
		if p.Name == "GLOBAL" {
			one.Name, one.TestURL, one.ExpectedStatus = "default", "", ""
		}
		if taken[one.Name] || p.Group.OnlyProviders {
			continue
		}
		one.Proxies = ownMembers(p.Group, byName)
		all = append(all, one)
	}
	slices.SortFunc(all, func(x, y ProxyProvider) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// ownMembers are the members of a group that no provider brought.
func ownMembers(g *Group, byName map[string]*Proxy) []Proxy {
	ps := make([]Proxy, 0, len(g.All))
	for _, name := range g.All {
		if p := byName[name]; p != nil && p.ProviderName == "" {
			ps = append(ps, *p)
		}
	}
	return ps
}

// findProvider is the provider that the path names.
func (a *API) findProvider(c echo.Context) (ProxyProvider, bool) {
	all := a.allProviders()
	for _, name := range spellings(c, "provider") {
		i := slices.IndexFunc(all, func(p ProxyProvider) bool { return p.Name == name })
		if i >= 0 {
			return all[i], true
		}
	}
	return ProxyProvider{}, false
}

func (a *API) listProxyProviders(c echo.Context) error {
	fr := newFrame(func(b []byte) []byte {
		b = append(b, `{"providers":{`...)
		all := a.allProviders()
		for i := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, all[i].Name), ':')
			b = appendProvider(b, &all[i])
		}
		return append(b, "}}\n"...)
	})
	defer fr.release()
	return respondRaw(c, http.StatusOK, fr.data)
}

func (a *API) getProxyProvider(c echo.Context) error {
	p, ok := a.findProvider(c)
	if !ok {
		return notFound(c)
	}
	return respondRaw(c, http.StatusOK, append(appendProvider(nil, &p), '\n'))
}

// updateProxyProvider fetches a provider anew. It goes on when the client
// leaves, as dashboards do after 5 s.
func (a *API) updateProxyProvider(c echo.Context) error {
	p, ok := a.findProvider(c)
	if !ok {
		return notFound(c)
	}
	if p.Vehicle == vehicleCompatible {
		return c.NoContent(http.StatusNoContent)
	}
	return done(c, a.ProxyProviders.UpdateProxyProvider(a.ctx, p.Name), http.StatusServiceUnavailable)
}

// checkProxyProvider tests all nodes of a provider and answers afterwards. How
// the tests went is in the nodes' histories, not in the answer.
func (a *API) checkProxyProvider(c echo.Context) error {
	p, ok := a.findProvider(c)
	if !ok {
		return notFound(c)
	}
	if p.Vehicle != vehicleCompatible {
		err := a.ProxyProviders.CheckProxyProvider(a.ctx, p.Name)
		if errors.Is(err, ErrNotFound) {
			return notFound(c)
		}
		return c.NoContent(http.StatusNoContent)
	}
	if p.TestURL != "" && a.Delays != nil {
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		defer cancel()
		expected, _ := parseStatusRanges(p.ExpectedStatus)
		_, _ = a.Delays.GroupDelay(ctx, p.Name, p.TestURL, expected)
	}
	return c.NoContent(http.StatusNoContent)
}

// findNode is the node of a provider that the path names.
func (a *API) findNode(c echo.Context) (Proxy, bool) {
	p, ok := a.findProvider(c)
	if !ok {
		return Proxy{}, false
	}
	for _, name := range spellings(c, "name") {
		i := slices.IndexFunc(p.Proxies, func(n Proxy) bool { return n.Name == name })
		if i >= 0 {
			return p.Proxies[i], true
		}
	}
	return Proxy{}, false
}

func (a *API) getProviderNode(c echo.Context) error {
	n, ok := a.findNode(c)
	if !ok {
		return notFound(c)
	}
	return respondProxy(c, &n)
}

func (a *API) providerNodeDelay(c echo.Context) error {
	n, ok := a.findNode(c)
	if !ok {
		return notFound(c)
	}
	return a.testProxy(c, n.Name)
}

// ruleProviderJSON is a provider of rules on the wire.
type ruleProviderJSON struct {
	Behavior  string    `json:"behavior"`
	Format    string    `json:"format"`
	Name      string    `json:"name"`
	RuleCount int       `json:"ruleCount"`
	Type      string    `json:"type"`
	Vehicle   string    `json:"vehicleType"`
	UpdatedAt time.Time `json:"updatedAt"`
	Payload   []string  `json:"payload,omitempty"`
}

func (a *API) listRuleProviders(c echo.Context) error {
	all := map[string]ruleProviderJSON{}
	if a.RuleProviders != nil {
		for _, p := range a.RuleProviders.RuleProviders() {
			all[p.Name] = ruleProviderJSON{p.Behavior, p.Format, p.Name, p.Count, "Rule", p.Vehicle, p.UpdatedAt, p.Payload}
		}
	}
	return respond(c, http.StatusOK, map[string]any{"providers": all})
}

func (a *API) updateRuleProvider(c echo.Context) error {
	if a.RuleProviders == nil {
		return notFound(c)
	}
	err := ErrNotFound
	for _, name := range spellings(c, "provider") {
		if err = a.RuleProviders.UpdateRuleProvider(a.ctx, name); !errors.Is(err, ErrNotFound) {
			break
		}
	}
	return done(c, err, http.StatusServiceUnavailable)
}

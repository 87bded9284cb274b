package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework"
)

// Explainer says where a flow would go, and why.
type Explainer interface {
	Explain(ctx context.Context, q ExplainQuery) Explanation
}

// ExplainQuery is a flow that is not there.
type ExplainQuery struct {
	Flow    framework.Flow
	Address netip.Addr // what the host resolves to; zero asks the resolver
	Process string     // path or name of the program, "" for not known
}

// Explanation is where a flow would go, and how that was found.
type Explanation struct {
	Mode    string        `json:"mode"`
	Host    string        `json:"host"`          // behind `hosts:`
	IP      string        `json:"destinationIP"` // as far as it became known
	Steps   []ExplainStep `json:"steps"`         // of the rules; empty when none were asked
	Rule    int           `json:"rule"`          // index of the deciding rule; -1 when none did
	Type    string        `json:"type"`          // of that rule
	Payload string        `json:"payload"`
	Proxy   string        `json:"proxy"`  // where the flow is sent
	Chains  []string      `json:"chains"` // from the exit to the outermost group
	Error   string        `json:"error,omitempty"`
	TookNS  int64         `json:"took"`
}

// ExplainStep is one step of the evaluation. Outcomes are those of
// route.Step.
type ExplainStep struct {
	Outcome  string   `json:"outcome"`
	List     string   `json:"list"` // the sub-rule, "" for `rules:`
	Depth    int      `json:"depth"`
	Index    int      `json:"index"` // the first of those skipped
	Last     int      `json:"last"`
	Disabled int      `json:"disabled,omitempty"`
	Type     string   `json:"type,omitempty"`
	Payload  string   `json:"payload,omitempty"`
	Proxy    string   `json:"proxy,omitempty"`
	Entry    string   `json:"entry,omitempty"`
	IP       string   `json:"ip,omitempty"` // what the name resolved to
	Chains   []string `json:"chains,omitempty"`
	Error    string   `json:"error,omitempty"`
	TookNS   int64    `json:"took"`
}

// ParseExplainQuery reads a query from its keys: host (a name or an address),
// port (443), network (tcp), source (127.0.0.1), ip (what host resolves to),
// process, inbound, type, user, inbound-port and dscp. All but host may be
// missing.
func ParseExplainQuery(values url.Values) (ExplainQuery, error) {
	p := explainParser{values: values}
	q := ExplainQuery{Process: values.Get("process")}
	f := &q.Flow
	f.Inbound = framework.Origin{Name: p.text("inbound", "DEFAULT-MIXED"), Type: p.text("type", "HTTPS"), User: values.Get("user")}
	f.Inbound.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(p.number("inbound-port", 0, 65535)))
	f.Destination.Port = uint16(p.number("port", 443, 65535))
	f.DSCP = uint8(p.number("dscp", 0, 63))
	f.Source = p.source()
	q.Address = p.address("ip")
	switch network := strings.ToLower(p.text("network", "tcp")); network {
	case "tcp":
		f.Network = framework.TCP
	case "udp":
		f.Network = framework.UDP
	default:
		p.fail(fmt.Errorf("network: %q is neither tcp nor udp", network))
	}
	host := strings.Trim(values.Get("host"), "[]")
	if ip, err := netip.ParseAddr(host); err == nil {
		f.Destination.IP = ip.Unmap()
	} else if f.Destination.Host = strings.TrimSuffix(strings.ToLower(host), "."); f.Destination.Host == "" {
		p.fail(errors.New("host is missing"))
	}
	return q, p.err
}

// explainParser keeps the first mistake.
type explainParser struct {
	values url.Values
	err    error
}

func (p *explainParser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *explainParser) text(key, without string) string {
	if v := p.values.Get(key); v != "" {
		return v
	}
	return without
}

func (p *explainParser) number(key string, without, limit uint64) uint64 {
	v := p.values.Get(key)
	if v == "" {
		return without
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n > limit {
		p.fail(fmt.Errorf("%s: %q is not a number up to %d", key, v, limit))
		return without
	}
	return n
}

func (p *explainParser) address(key string) netip.Addr {
	v := p.values.Get(key)
	if v == "" {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(strings.Trim(v, "[]"))
	if err != nil {
		p.fail(fmt.Errorf("%s: %q is not an address", key, v))
	}
	return ip.Unmap()
}

// source is an address, or an address and a port.
func (p *explainParser) source() netip.AddrPort {
	v := p.text("source", "127.0.0.1")
	if ap, err := netip.ParseAddrPort(v); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ip, err := netip.ParseAddr(strings.Trim(v, "[]"))
	if err != nil {
		p.fail(fmt.Errorf("source: %q is neither an address nor address:port", v))
	}
	return netip.AddrPortFrom(ip.Unmap(), 0)
}

// explain answers where a flow would go.
func (a *API) explain(c echo.Context) error {
	if a.Explainer == nil {
		return fail(c, http.StatusNotImplemented, "this kernel explains nothing")
	}
	q, err := ParseExplainQuery(c.QueryParams())
	if err != nil {
		return fail(c, http.StatusBadRequest, err.Error())
	}
	e := a.Explainer.Explain(c.Request().Context(), q)
	if e.Steps == nil {
		e.Steps = []ExplainStep{}
	}
	if e.Chains == nil {
		e.Chains = []string{}
	}
	return respond(c, http.StatusOK, e)
}

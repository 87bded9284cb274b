package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework"
)

// maxStatusRanges is how many ranges `expected` may have, as in mihomo.
const maxStatusRanges = 28

// delayQuery is the query of a delay test.
type delayQuery struct {
	url      string
	timeout  time.Duration
	expected StatusRanges
}

// parseDelayQuery reads the query; timeoutBits is the size of the timeout in
// milliseconds.
func parseDelayQuery(c echo.Context, timeoutBits int) (q delayQuery, ok bool) {
	ms, err := strconv.ParseInt(c.QueryParam("timeout"), 10, timeoutBits)
	if err != nil {
		return q, false
	}
	q.url, q.timeout = c.QueryParam("url"), time.Duration(ms)*time.Millisecond
	q.expected, ok = parseStatusRanges(c.QueryParam("expected"))
	return q, ok
}

// parseStatusRanges reads "204", "200/204", "200-299,404", "*" or "".
func parseStatusRanges(text string) (StatusRanges, bool) {
	text = strings.TrimSpace(text)
	if text == "" || text == "*" {
		return nil, true
	}
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == '/' || r == ',' })
	if len(parts) == 0 || len(parts) > maxStatusRanges {
		return nil, false
	}
	ranges := make(StatusRanges, 0, len(parts))
	for _, part := range parts {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		l, errLow := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		h, errHigh := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		if errLow != nil || errHigh != nil {
			return nil, false
		}
		ranges = append(ranges, StatusRange{uint16(min(l, h)), uint16(max(l, h))})
	}
	return ranges, true
}

// proxyDelay tests one proxy, or a group through its current member.
func (a *API) proxyDelay(c echo.Context) error {
	p, ok := a.findProxy(c)
	if !ok {
		return notFound(c)
	}
	return a.testProxy(c, p.Name)
}

// testProxy runs a test. A client that leaves does not end it: its result is
// recorded for the next one who looks.
func (a *API) testProxy(c echo.Context, name string) error {
	q, ok := parseDelayQuery(c, 16)
	if !ok {
		return badBody(c)
	}
	if a.Delays == nil {
		return fail(c, http.StatusServiceUnavailable, textDelayFailed)
	}
	ctx, cancel := context.WithTimeout(a.ctx, q.timeout)
	defer cancel()
	ms, err := a.Delays.ProxyDelay(ctx, name, q.url, q.expected)
	switch {
	case err == nil:
		return respond(c, http.StatusOK, map[string]uint16{"delay": max(ms, 1)})
	case errors.Is(err, ErrNotFound):
		return notFound(c)
	case ctx.Err() != nil:
		return fail(c, http.StatusGatewayTimeout, textTimeout)
	}
	return fail(c, http.StatusServiceUnavailable, textDelayFailed)
}

// groupDelay tests all members of a group. Asking clears the group's pin, even
// where the rest of the request is refused: mihomo does so.
func (a *API) groupDelay(c echo.Context) error {
	p, ok := a.findGroup(c)
	if !ok {
		return notFound(c)
	}
	if pinnable(p.Type) {
		if err := a.Selector.Unfix(p.Name); err != nil {
			a.log.Debug("clear the pin before a test", "group", p.Name, "err", err)
		}
	}
	q, ok := parseDelayQuery(c, 32)
	if !ok {
		return badBody(c)
	}
	var delays map[string]uint16
	err := framework.ErrUnavailable
	if a.Delays != nil {
		ctx, cancel := context.WithTimeout(c.Request().Context(), q.timeout)
		defer cancel()
		defer context.AfterFunc(a.ctx, cancel)()
		delays, err = a.Delays.GroupDelay(ctx, p.Name, q.url, q.expected)
	}
	if err != nil || len(delays) == 0 {
		return fail(c, http.StatusGatewayTimeout, "get delay: all proxies timeout")
	}
	return respond(c, http.StatusOK, delays)
}

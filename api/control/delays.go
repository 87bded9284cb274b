package control

import (
	"context"
	"time"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/health"
)

// ProxyDelay tests one proxy or group, as rest.Delays.
func (c *Controller) ProxyDelay(ctx context.Context, name, url string, expected rest.StatusRanges) (uint16, error) {
	d, err := c.Kernel.Test(ctx, name, url, statuses(expected))
	return milliseconds(d), selectError(err)
}

// groupRounds bounds a test of a group with more members than are tested at
// once, in timeouts. Chosen: dashboards wait for 30 s and send 5 s.
const groupRounds = 5

// GroupDelay tests all members of a group, as rest.Delays. What each member
// gets is the time until ctx's deadline; a client that leaves ends the tests.
func (c *Controller) GroupDelay(ctx context.Context, group, url string, expected rest.StatusRanges) (map[string]uint16, error) {
	if n := c.Kernel.Snapshot().Nodes[group]; n != nil && n.Type.Label == "URLTest" {
		url = c.Kernel.State().Nodes[group].TestURL
	}
	timeout := 5 * time.Second
	if at, ok := ctx.Deadline(); ok {
		timeout = time.Until(at)
	}
	all, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupRounds*timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if ctx.Err() == context.Canceled {
			cancel()
		}
	})()
	found, err := c.Kernel.TestMembers(all, group, url, timeout, statuses(expected))
	if err != nil {
		return nil, selectError(err)
	}
	delays := make(map[string]uint16, len(found))
	for name, d := range found {
		delays[name] = milliseconds(d)
	}
	return delays, nil
}

func statuses(ranges rest.StatusRanges) health.Statuses {
	var s health.Statuses
	for _, r := range ranges {
		s = append(s, [2]uint16{r.Low, r.High})
	}
	return s
}

func milliseconds(d time.Duration) uint16 { return uint16(d / time.Millisecond) }

func delays(tests []framework.Tested) []rest.Delay {
	list := make([]rest.Delay, len(tests))
	for i, t := range tests {
		list[i] = rest.Delay{Time: t.At, DelayMS: milliseconds(t.Delay)}
	}
	return list
}

func byURL(all map[string]framework.Health) map[string]rest.URLHealth {
	m := make(map[string]rest.URLHealth, len(all))
	for url, h := range all {
		m[url] = rest.URLHealth{Alive: h.Alive, History: delays(h.Tests)}
	}
	return m
}

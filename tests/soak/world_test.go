package soak_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// world is the ports of the kernel and the servers behind it.
type world struct {
	top     int // port or mixed-port, in turns
	guarded int // a listener whose users change
	steady  int // a listener that never changes
	up      int // a listener that "hop" goes through
	extra   int // a listener that comes and goes

	direct, grouped, hopped, kept int // TCP and UDP echo, each reached by a rule of its own
}

func newWorld(t *testing.T) *world {
	w := &world{}
	for _, p := range []*int{&w.top, &w.guarded, &w.steady, &w.up, &w.extra} {
		*p = harness.Port(t)
	}
	for _, p := range []*int{&w.direct, &w.grouped, &w.hopped, &w.kept} {
		*p = echo(t)
	}
	return w
}

// servers are the ports to reach.
func (w *world) servers() []int { return []int{w.direct, w.grouped, w.hopped, w.kept} }

// document is the configuration of a step. From one to the next it changes the
// members of a group, a proxy that carries flows, rules, the users of a
// listener, what listens at the top-level port, allow-lan, and which other
// listeners there are, each at its own pace.
func (w *world) document(step int) string {
	var b strings.Builder
	on := func(every int) bool { return step/every%2 == 1 }
	pick := func(yes bool, a, b string) string {
		if yes {
			return a
		}
		return b
	}
	fmt.Fprintf(&b, "external-controller: '%%API%%'\nlog-level: debug\nmode: rule\nhosts: {soak.test: 127.0.0.1}\n")
	fmt.Fprintf(&b, "%s: %d\nallow-lan: %v\n", pick(on(1), "port", "mixed-port"), w.top, on(3))
	fmt.Fprintf(&b, "proxies:\n- {name: kept, type: direct, udp: true}\n- {name: other, type: socks5, server: 127.0.0.1, port: 1}\n")
	if !on(2) {
		fmt.Fprintf(&b, "- {name: hop, type: socks5, server: 127.0.0.1, port: %d, udp: true}\n", w.up)
	}
	fmt.Fprintf(&b, "proxy-groups:\n- {name: g, type: select, proxies: [%s]}\n", pick(on(1), "kept, DIRECT, other", "DIRECT, kept"))
	fmt.Fprintf(&b, "rules:\n- DOMAIN,step%d.test,REJECT\n- DST-PORT,%d,g\n- DST-PORT,%d,%s\n- DST-PORT,%d,kept\n- MATCH,DIRECT\n",
		step, w.grouped, w.hopped, pick(on(2), "DIRECT", "hop"), w.kept)
	fmt.Fprintf(&b, "listeners:\n- {name: steady, type: mixed, listen: 127.0.0.1, port: %d}\n", w.steady)
	fmt.Fprintf(&b, "- {name: up, type: socks, listen: 127.0.0.1, port: %d, proxy: DIRECT}\n", w.up)
	fmt.Fprintf(&b, "- {name: guarded, type: mixed, listen: 127.0.0.1, port: %d, users: [{username: me, password: mine}, {username: u%d, password: x}]}\n", w.guarded, step)
	if on(1) {
		fmt.Fprintf(&b, "- {name: extra, type: %s, listen: 127.0.0.1, port: %d}\n", pick(on(2), "http", "socks"), w.extra)
	}
	return b.String()
}

// filled is document with the address of the controller.
func (w *world) filled(c *harness.Culvert, step int) string {
	return strings.ReplaceAll(w.document(step), "%API%", strings.TrimPrefix(c.API, "http://"))
}

// echo serves TCP and UDP at one port of loopback and sends back what it gets.
func echo(t *testing.T) int {
	t.Helper()
	port := harness.Port(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); pc.Close(); all.Wait() })
	all.Go(func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { // ends with its client
				defer c.Close()
				b := make([]byte, 1024)
				for {
					n, err := c.Read(b)
					if _, failed := c.Write(b[:n]); err != nil || failed != nil {
						return
					}
				}
			})
		}
	})
	all.Go(func() { // ends when pc is closed
		b := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(b[:n], from)
		}
	})
	return port
}

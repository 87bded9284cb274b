package kernel_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework/kernel"
)

func TestBusyListenerIsLoggedAndTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := taken.Addr().(*net.TCPAddr).Port
	doc := fmt.Sprintf("mixed-port: %d\nlisteners: [{name: l, type: http, listen: 127.0.0.1, port: %d}]", port, freePort(t))

	h.apply(t, doc)

	if got := h.logs.take(); !strings.Contains(got, "listener is not open") || !strings.Contains(got, "DEFAULT-MIXED") || !strings.Contains(got, "address already in use") {
		t.Errorf("logged %q", got)
	}
	if n := h.State().BoundPort("DEFAULT-MIXED"); n != 0 {
		t.Errorf("a port that is not open shows as %d", n)
	}
	taken.Close()
	h.apply(t, doc)
	if n := h.State().BoundPort("DEFAULT-MIXED"); n != port {
		t.Errorf("tried again: %d, want %d; %s", n, port, h.logs.take())
	}
	tunnel(t, port, echo(t))
}

func TestFirstListenerKeepsTheNumber(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	port := freePort(t)

	h.apply(t, fmt.Sprintf("port: %d\nsocks-port: %[1]d\nmixed-port: %[1]d\nlisteners: [{name: l, type: http, listen: 127.0.0.1, port: %[1]d}]", port))

	for _, name := range []string{"DEFAULT-HTTP", "DEFAULT-SOCKS", "DEFAULT-MIXED"} {
		if n := h.State().BoundPort(name); n != 0 {
			t.Errorf("%s is open beside another at port %d", name, n)
		}
	}
	if got := h.logs.take(); strings.Count(got, "address already in use") != 3 || !strings.Contains(got, `listener \"l\" is there`) {
		t.Errorf("logged %q", got)
	}
	h.apply(t, fmt.Sprintf("mixed-port: %d\nport: %[1]d", port))
	if n := h.State().BoundPort("DEFAULT-HTTP"); n != port {
		t.Errorf("got %d, want %d: %s", n, port, h.logs.take())
	}
}

// TestNobodyIsRefusedWhileListenersTakeOver connects all the time while a port
// goes from one inbound, address and set of options to the next.
func TestNobodyIsRefusedWhileListenersTakeOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	port, server := freePort(t), echo(t)
	docs := []string{
		"mixed-port: %d", "port: %d", "mixed-port: %d\nallow-lan: true", "port: %d\nallow-lan: true\nbind-address: 127.0.0.1",
		"mixed-port: %d\nallow-lan: true\nbind-address: 0.0.0.0", "listeners: [{name: l, type: mixed, port: %d, listen: 127.0.0.1}]",
		"listeners: [{name: l, type: http, port: %d}]",
	}
	h.apply(t, fmt.Sprintf(docs[0], port))
	stop := make(chan struct{})
	var all sync.WaitGroup
	var flows, failed atomic.Int32
	for range 4 {
		all.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, line := connect(t, port, server)
				flows.Add(1)
				if !strings.Contains(line, " 200 ") || !alive(c) {
					failed.Add(1)
					t.Errorf("answer %q", line)
				}
				if c != nil {
					c.Close()
				}
			}
		})
	}
	reloads := 0
	for range 6 {
		for _, doc := range docs {
			h.apply(t, fmt.Sprintf(doc, port))
			reloads++
		}
	}
	close(stop)
	all.Wait()

	t.Logf("%d reloads, %d flows, %d failed", reloads, flows.Load(), failed.Load())
	if got := h.logs.take(); strings.Contains(got, "not open") {
		t.Error(got)
	}
}

func TestUnchangedListenerKeepsItsSocket(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	port := freePort(t)
	doc := fmt.Sprintf("mixed-port: %d\nlisteners: [{name: l, type: socks, listen: 127.0.0.1, port: %d}]\nmode: ", port, freePort(t))
	h.apply(t, doc+"rule")
	before := sockets(t)

	h.apply(t, doc+"direct")
	h.apply(t, doc+"direct", kernel.Options{KeepPorts: true})

	after := sockets(t)
	for _, at := range []string{fmt.Sprintf("tcp %d", port), fmt.Sprintf("udp %d", port)} {
		if before[at] == "" || before[at] != after[at] {
			t.Errorf("%s: inode %q, then %q", at, before[at], after[at])
		}
	}
	h.apply(t, strings.Replace(doc, "mixed-port", "socks-port", 1)+"rule")
	if taken := sockets(t)[fmt.Sprintf("tcp %d", port)]; taken != before[fmt.Sprintf("tcp %d", port)] {
		t.Errorf("another inbound at the same address: inode %q, want %q", taken, before[fmt.Sprintf("tcp %d", port)])
	}
}

func TestKeepPortsLeavesThePortsOfTheDocumentBefore(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	first, second := freePort(t), freePort(t)
	h.apply(t, fmt.Sprintf("mixed-port: %d\nmode: rule\nskip-auth-prefixes: [10.0.0.0/8]", first))

	h.apply(t, fmt.Sprintf("mixed-port: %d\nmode: direct\nallow-lan: true\nskip-auth-prefixes: []", second), kernel.Options{KeepPorts: true})

	g := h.State().General
	if g.MixedPort != first || g.AllowLAN || len(g.SkipAuthPrefixes) != 1 || g.Mode != "direct" {
		t.Errorf("got port %d, allow-lan %v, skip %v, mode %s", g.MixedPort, g.AllowLAN, g.SkipAuthPrefixes, g.Mode)
	}
	tunnel(t, first, echo(t))
}

func TestPatchLastsUntilTheNextDocument(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	first, second, server := freePort(t), freePort(t), echo(t)
	doc := fmt.Sprintf("mixed-port: %d\nmode: rule\nlog-level: info\nrules: ['DST-PORT,%s,DIRECT', 'MATCH,REJECT']", first, portOf(server))
	h.apply(t, doc)
	flow := tunnel(t, first, server)
	mode, level, lan := "direct", "error", true

	err := h.Patch(context.Background(), kernel.Patch{MixedPort: &second, Mode: &mode, LogLevel: &level, AllowLAN: &lan})

	if err != nil || h.State().BoundPort("DEFAULT-MIXED") != second || h.level.Level().String() != "ERROR" || h.State().General.BindAddress != "*" {
		t.Errorf("%v, port %d, level %v, %+v", err, h.State().BoundPort("DEFAULT-MIXED"), h.level.Level(), h.State().General.General)
	}
	other := echo(t)
	tunnel(t, second, other)
	if !alive(flow) {
		t.Error("a flow broke when its port moved")
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // who connects while it closes is served
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", first))
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the port that moved is open")
		}
	}
	h.apply(t, doc)
	if g := h.State().General; g.MixedPort != first || g.Mode != "rule" || g.LogLevel != "info" || g.AllowLAN {
		t.Errorf("after a reload: %+v", g)
	}
	if c, line := connect(t, first, other); alive(c) {
		t.Errorf("after a reload: %s, want a refusal by the rules", line)
	}
}

func TestPortThatCannotBeOpenedClosesTheOldOne(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]int{"too large": 70000, "negative": -1} {
		h := newHouse(t, nil)
		port := freePort(t)
		h.apply(t, fmt.Sprintf("mixed-port: %d", port))

		err := h.Patch(context.Background(), kernel.Patch{MixedPort: &bad})

		if err != nil || h.State().BoundPort("DEFAULT-MIXED") != 0 || !strings.Contains(h.logs.take(), "listener is not open") {
			t.Errorf("%s: %v, port %d", name, err, h.State().BoundPort("DEFAULT-MIXED"))
		}
		if err := h.Patch(context.Background(), kernel.Patch{MixedPort: &port}); err != nil || h.State().BoundPort("DEFAULT-MIXED") != port {
			t.Errorf("%s: back again: %v, port %d", name, err, h.State().BoundPort("DEFAULT-MIXED"))
		}
	}
}

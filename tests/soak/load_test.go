package soak_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// load is all clients of a run.
type load struct {
	world *world
	stop  chan struct{}
	workers
	idle []net.Conn

	connects, refused, broken       atomic.Int64
	datagrams, again, lost, reports atomic.Int64
}

// warmUp uses each way once, so that what is made on first use is there.
func (w *world) warmUp(t *testing.T) {
	t.Helper()
	for _, d := range w.doors() {
		for _, to := range w.servers() {
			c, err := d.enter(to)
			if err != nil {
				t.Fatalf("%+v: %v", d, err)
			}
			if err := echoes(c, "warm"); err != nil {
				t.Fatalf("%+v: %v", d, err)
			}
			c.Close()
		}
	}
}

// open opens the flows that stay, and starts those that come.
func (l *load) open(t *testing.T, s size) {
	t.Helper()
	doors, servers := l.world.doors(), l.world.servers()
	for i := range s.flows {
		d, to := doors[i%len(doors)], servers[i%len(servers)]
		c, err := d.enter(to)
		if err != nil {
			t.Fatalf("%+v: %v", d, err)
		}
		if i%2 == 0 {
			l.idle = append(l.idle, c)
			continue
		}
		l.all.Go(func() { // ends with stop
			defer c.Close()
			l.talk(t, c, i)
		})
	}
	for i := range s.sessions {
		a, err := associate(l.world.steady)
		if err != nil {
			t.Fatal(err)
		}
		l.all.Go(func() { // ends with stop
			defer a.close()
			l.askAround(t, a, i)
		})
	}
	l.all.Go(func() { l.arrive(t) }) // ends with stop
}

// each calls f at a pace until the run stops or f says so.
func (l *load) each(pace time.Duration, f func(i int) bool) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			if !f(i) {
				return
			}
		}
	}
}

// report tells the first few of many failures.
func (l *load) report(t *testing.T, count *atomic.Int64, format string, a ...any) {
	count.Add(1)
	if l.reports.Add(1) <= 20 {
		t.Errorf(time.Now().Format("05.000000 ")+format, a...)
	}
}

// talk moves a few bytes through an open flow all the time.
func (l *load) talk(t *testing.T, c net.Conn, flow int) {
	l.each(messageEach, func(i int) bool {
		if err := echoes(c, fmt.Sprintf("flow %d message %d;", flow, i)); err != nil {
			l.report(t, &l.broken, "open flow %d, message %d: %v", flow, i, err)
			return false
		}
		return true
	})
}

// askAround sends datagrams from one source to all servers in turn.
func (l *load) askAround(t *testing.T, a *association, session int) {
	servers := l.world.servers()
	l.each(messageEach, func(i int) bool {
		sent, err := a.ask(servers[i%len(servers)], fmt.Sprintf("session %d message %d", session, i))
		l.datagrams.Add(1)
		l.again.Add(int64(sent - 1))
		if err != nil {
			l.report(t, &l.lost, "session %d, message %d: %v", session, i, err)
		}
		return true
	})
}

// arrive opens new flows at a pace, each in a goroutine of its own, so that one
// that waits delays no other.
func (l *load) arrive(t *testing.T) {
	doors, servers := l.world.doors(), l.world.servers()
	l.each(connectEach, func(i int) bool {
		l.all.Go(func() { // ends with its flow
			d, to := doors[i%len(doors)], servers[i/len(doors)%len(servers)]
			l.connects.Add(1)
			c, err := d.enter(to)
			if err != nil {
				l.report(t, &l.refused, "new flow %d by %+v to %d: %v", i, d, to, err)
				return
			}
			defer c.Close()
			if err := echoes(c, fmt.Sprintf("new flow %d", i)); err != nil {
				l.report(t, &l.broken, "new flow %d by %+v to %d: %v", i, d, to, err)
			}
		})
		return true
	})
}

// finish ends the clients and then asks each idle flow whether it lives.
func (l *load) finish(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.finished(t)
	for i, c := range l.idle {
		if err := echoes(c, "still there?"); err != nil {
			l.report(t, &l.broken, "idle flow %d: %v", 2*i, err)
		}
		c.Close()
	}
}

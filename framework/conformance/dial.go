package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

const (
	prompt = 100 * time.Millisecond // how soon a dial returns after its context has ended
	never  = time.Hour              // stands for a dial that does not return
)

func cancelEndsDial(t *trial) { t.endsDial(cancelOnce) }

// cancelOnce is a context that is cancelled when the dial has begun, or soon:
// a plugin that goes around the host, or waits for its server to speak first,
// gives no sign.
func cancelOnce(begun <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the dial
		soon := time.NewTimer(prompt)
		defer soon.Stop()
		select {
		case <-begun:
		case <-soon.C:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

func expiryEndsDial(t *trial) {
	t.endsDial(func(<-chan struct{}) (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), 50*time.Millisecond)
	})
}

// endsDial dials a host that keeps silent, and a server that does. One prompt
// return of three is enough: the machine may be busy.
func (t *trial) endsDial(start func(begun <-chan struct{}) (context.Context, context.CancelFunc)) {
	if t.outbound.Nowhere {
		t.skipf("the type reaches no destination")
	}
	begun := make(chan struct{}, 1000)
	silent := t.listen("127.0.0.1:0", func(c *tcpConn) {
		c.Read(make([]byte, 1))
		begun <- struct{}{}
		hold(c)
	})
	o := t.build(silent)
	for _, stalled := range []bool{true, false} {
		if !stalled && !t.needsServer() {
			return
		}
		t.host.stall.Store(stalled)
		sign := begun
		if stalled {
			sign = t.host.stalled
		}
		for _, open := range t.dials(o) {
			if took := t.quickest(open, sign, start); took > prompt {
				t.errorf("%s: returned %v after the end of its context, want at most %v", open.what, took.Round(time.Millisecond), prompt)
			}
		}
	}
}

// dial is one of the two ways to open a flow.
type dial struct {
	what string
	open func(context.Context) (io.Closer, error)
}

func (t *trial) dials(o framework.Outbound) []dial {
	to := framework.Addr{Host: "localhost", Port: 9}
	list := []dial{{"DialStream", func(ctx context.Context) (io.Closer, error) { return o.DialStream(ctx, to) }}}
	if !t.noPackets() {
		list = append(list, dial{"DialPacket", func(ctx context.Context) (io.Closer, error) { return o.DialPacket(ctx, to) }})
	}
	return list
}

// quickest is how long the quickest of three dials took after its context
// ended. A protocol that has no handshake succeeds, which is prompt.
func (t *trial) quickest(d dial, begun <-chan struct{}, start func(<-chan struct{}) (context.Context, context.CancelFunc)) time.Duration {
	best := never
	for range 3 {
		for len(begun) > 0 {
			<-begun
		}
		ctx, cancel := start(begun)
		returned := make(chan error, 1)
		go func() { // ends with the dial
			defer t.guard()
			c, err := d.open(ctx)
			if err == nil {
				c.Close()
			}
			returned <- err
		}()
		took, err := waited(ctx, returned, t.pace.step/3)
		cancel()
		if took == never {
			return took
		}
		if err != nil && framework.Classify(err) == nil && !errors.Is(err, context.Canceled) {
			t.errorf("%s: got %v, want an error of a class", d.what, err)
		}
		best = min(best, took)
		if best <= prompt {
			break
		}
	}
	return best
}

// waited is how long after the end of ctx a dial returned: 0 when before, never
// when it is not back after most.
func waited(ctx context.Context, returned <-chan error, most time.Duration) (time.Duration, error) {
	select {
	case err := <-returned:
		return 0, err
	case <-ctx.Done():
	}
	ended := time.Now()
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case err := <-returned:
		return time.Since(ended), err
	case <-late.C:
		return never, nil
	}
}

func endedContext(t *trial) {
	if t.outbound.Nowhere {
		t.skipf("the type reaches no destination")
	}
	o := t.build(t.listen("127.0.0.1:0", hold))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	to := t.listen("127.0.0.1:0", hold)
	var err error
	if !t.within(t.pace.step, func() {
		var c net.Conn
		if c, err = o.DialStream(ctx, to); err == nil {
			c.Close()
		}
	}) {
		t.fatalf("the dial does not return")
	}
	if err == nil {
		t.errorf("got a stream from a context that had ended")
	}
}

func refusal(t *trial) {
	if t.outbound.Nowhere {
		t.skipf("the type reaches no destination")
	}
	nobody := t.closed()
	o := t.build(nobody)
	for _, d := range t.dials(o) {
		if d.what == "DialPacket" {
			continue // a protocol over datagrams learns of it later
		}
		to := nobody
		c, err := o.DialStream(t.context(), to)
		if err == nil {
			c.Close()
		}
		if !errors.Is(framework.Classify(err), framework.ErrRefused) {
			t.errorf("%s to a closed port: got %v, want class %v", d.what, err, framework.ErrRefused)
		}
	}
}

func wrongSecret(t *trial) {
	if t.outbound.WrongSecret == "" || !t.server.IsValid() {
		t.skipf("the case has no configuration with a wrong secret, or no server")
	}
	o := t.buildFrom(fill(t.outbound.WrongSecret, t.server))
	c, err := o.DialStream(t.context(), t.listen("127.0.0.1:0", echo))
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, framework.ErrAuth) {
		t.errorf("got %v, want class %v", err, framework.ErrAuth)
	}
}

// nowhereSaysSo is for a type that refuses, or swallows, every flow.
func nowhereSaysSo(t *trial) {
	if !t.outbound.Nowhere {
		t.skipf("the type reaches destinations")
	}
	o := t.build(framework.Addr{})
	for _, d := range t.dials(o) {
		c, err := d.open(t.context())
		if err == nil {
			c.Close()
			continue
		}
		if framework.Classify(err) == nil {
			t.errorf("%s: got %v, want an error of a class", d.what, err)
		}
	}
}

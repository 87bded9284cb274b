package accept

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/plugins/internal/inboundtest"
)

func TestHandshakeThatHasBegunEndsInOrderAfterClose(t *testing.T) {
	t.Parallel()
	s, address := start(t, Default(), nil, Protocol{Stream: upToLine})
	first, again := dial(t, address), in(t, dial(t, address), "busy\n")
	io.WriteString(first, "bu")
	closed := make(chan struct{})
	go func() { // ends with the handshake
		s.Close()
		close(closed)
	}()
	<-s.stopping

	in(t, first, "sy\n") // a flow from here on, which Close does not wait for

	select {
	case <-closed:
	case <-time.After(graceTime):
		t.Error("Close goes on without a handshake")
	}
	first.Close()
	again.Close()
}

func TestEndOfTheContextCutsHandshakes(t *testing.T) {
	t.Parallel()
	o := Default()
	o.Listen = "127.0.0.1"
	ctx, cancel := context.WithCancel(context.Background())
	s := New(inboundtest.NewHost(), o)
	defer s.Close()
	if err := s.Start(ctx, Protocol{Stream: upToLine}); err != nil {
		t.Fatal(err)
	}
	half := dial(t, s.Addrs()[0].String())
	busy := in(t, dial(t, s.Addrs()[0].String()), "busy\n")
	io.WriteString(half, "bu")
	began := time.Now()

	cancel()
	s.Close()

	ends(t, half)
	if d := time.Since(began); d >= graceTime {
		t.Errorf("took %v", d)
	}
	in(t, busy, "ok").Close()
}

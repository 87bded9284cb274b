package dispatch_test

import (
	"errors"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// A kernel that closes retires its outbounds while they are in force.
func TestFlowAfterTheLastOutboundIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, n := range h.nodes {
		n.Lease.Retire(func() {})
	}

	_, err := h.Through("good").DialStream(t.Context(), framework.Addr{Host: "a.test", Port: 80})
	if !errors.Is(err, framework.ErrUnavailable) {
		t.Errorf("through: got %v, want unavailable", err)
	}
	f := h.dial(t, h.Port("", ""), "a.test", "")
	if err := f.reply(t); !errors.Is(err, framework.ErrUnavailable) {
		t.Errorf("flow: got %v, want unavailable", err)
	}
	f.Close()
	receive(t, f.done)
}

func TestGroupsAreToldOfDialsThroughThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)

	_, first := h.Through("group").DialStream(t.Context(), framework.Addr{Host: "a.test", Port: 80})
	c, second := h.Through("group").DialStream(t.Context(), framework.Addr{Host: "a.test", Port: 80})

	if !errors.Is(first, framework.ErrRefused) || second != nil {
		t.Fatalf("got %v, then %v; want refused, then the next member", first, second)
	}
	c.Close()
}

package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

func TestIdleRoutesExpire(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.send(alice, "b", addr("1.1.1.1:2"))
		for range 4 {
			time.Sleep(30 * time.Second)
			h.answer(0, "A", addr("1.1.1.1:1")) // either direction keeps a route
		}
		if n := h.table.Counts(); n.Routes != 1 || n.Expired != 1 {
			t.Errorf("counts %+v, want the silent route gone", n)
		}

		time.Sleep(62 * time.Second)

		if n := h.table.Counts(); n.Routes != 0 || n.Sessions != 0 || h.stats.OpenFlows() != 0 {
			t.Errorf("counts %+v, %d flows", n, h.stats.OpenFlows())
		}
		select {
		case <-h.exits[0].closed:
		default:
			t.Error("packet conn still open")
		}
	})
}

func TestAnsweredNameServersExpireSoon(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "q", addr("1.1.1.1:53"))
		time.Sleep(20 * time.Second)
		if n := h.table.Counts(); n.Routes != 1 {
			t.Errorf("counts %+v, want the question open", n)
		}
		h.answer(0, "r", addr("1.1.1.1:53"))
		h.settle()
		h.send(alice, "q", addr("1.1.1.1:53")) // a second question opens it again
		time.Sleep(20 * time.Second)
		if n := h.table.Counts(); n.Routes != 1 {
			t.Errorf("counts %+v, want the second question open", n)
		}

		h.answer(0, "r", addr("1.1.1.1:53"))
		time.Sleep(8 * time.Second)

		if n := h.table.Counts(); n.Routes != 0 {
			t.Errorf("counts %+v, want none", n)
		}
	})
}

func TestSweeperWakesForTheNextSession(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		for i := range 3 {
			h.send(alice, "a", addr("1.1.1.1:1"))
			h.settle()
			if n := h.table.Counts(); n.Routes != 1 {
				t.Errorf("turn %d: counts %+v", i, n)
			}
			time.Sleep(time.Hour)
			if n := h.table.Counts(); n.Routes != 0 {
				t.Errorf("turn %d: counts %+v", i, n)
			}
		}
	})
}

func TestKilledFlowIsRoutedAnew(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.send(alice, "b", addr("1.1.1.1:2"))
		h.settle()

		h.flows[0].Kill()
		h.flows[0].Kill()

		if n := h.table.Counts(); n.Routes != 1 {
			t.Errorf("counts %+v", n)
		}
		h.send(alice, "c", h.flows[0].Destination)
		h.settle()
		if len(h.asked) != 3 || len(h.exits) != 1 {
			t.Errorf("asked %d times, %d packet conns", len(h.asked), len(h.exits))
		}
		killed := 0
		h.stats.FinishedFlows(func(l stats.FlowLabels, n uint64) {
			if l.Reason == "killed" {
				killed += int(n)
			}
		})
		if killed != 1 {
			t.Errorf("%d flows counted as killed", killed)
		}
	})
}

func TestFlowKilledBeforeItsRouteIsThereEnds(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.setRoute(func(f *framework.Flow) (Route, error) {
			rt := h.through("direct", f, f.Destination)
			rt.Flow.Kill()
			return rt, nil
		})
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()

		if n := h.table.Counts(); n.Routes != 0 || len(h.exits) != 0 {
			t.Errorf("counts %+v, %d packet conns", n, len(h.exits))
		}
	})
}

func TestFlowKilledDuringItsDialLeavesNoPacketConn(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		dialled := make(chan struct{})
		h.setRoute(func(f *framework.Flow) (Route, error) {
			rt := h.through("slow", f, f.Destination)
			rt.Dial = func(ctx context.Context) (framework.PacketConn, error) {
				<-dialled
				return h.dial(ctx)
			}
			return rt, nil
		})
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()

		h.flows[0].Kill()
		close(dialled)
		h.settle()

		if n := h.table.Counts(); n.Routes != 0 || n.Pending != 0 {
			t.Errorf("counts %+v", n)
		}
		select {
		case <-h.exits[0].closed:
		default:
			t.Error("packet conn still open")
		}
	})
}

func TestFullSessionGivesUpItsLongestIdleRoute(t *testing.T) {
	inHouse(t, Config{MaxSessionRoutes: 3}, func(h *house) {
		for port := range 3 {
			h.send(alice, "a", addr(fmt.Sprint("1.1.1.1:", port+1)))
			time.Sleep(2 * time.Second)
		}
		h.send(alice, "a", addr("1.1.1.1:1")) // young again
		time.Sleep(2 * time.Second)

		h.send(alice, "a", addr("1.1.1.1:4"))
		h.settle()
		h.send(alice, "b", addr("1.1.1.1:1"))
		h.send(alice, "b", addr("1.1.1.1:3"))
		h.settle()

		if n := h.table.Counts(); n.Routes != 3 || n.Evicted != 1 || len(h.asked) != 4 {
			t.Errorf("counts %+v, asked %v", n, h.asked)
		}
		h.send(alice, "b", addr("1.1.1.1:2"))
		h.settle()
		if len(h.asked) != 5 {
			t.Errorf("asked %v, want port 2 again", h.asked)
		}
	})
}

func TestFullTableGivesUpTheLongestIdleSession(t *testing.T) {
	inHouse(t, Config{MaxSessions: 2}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.send(alice, "a", addr("1.1.1.1:2"))
		time.Sleep(2 * time.Second)
		h.send(bob, "b", addr("1.1.1.1:1"))
		time.Sleep(2 * time.Second)
		h.send(alice, "a", addr("1.1.1.1:1"))
		time.Sleep(2 * time.Second)

		h.send("10.0.0.3:1", "c", addr("1.1.1.1:1"))
		h.settle()
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()

		if n := h.table.Counts(); n.Sessions != 2 || n.Evicted != 1 || len(h.asked) != 4 {
			t.Errorf("counts %+v, asked %v", n, h.asked)
		}
	})
}

func TestTableFullOfAnotherServersRoutesStillTakesOne(t *testing.T) {
	inHouse(t, Config{MaxRoutes: 2}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.send(alice, "a", addr("1.1.1.1:2"))
		h.settle()
		other := &house{t: t, stats: h.stats, table: h.table, in: inbound{newWire()}, done: make(chan error, 1)}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { other.done <- h.table.Serve(ctx, other.in, framework.Origin{Name: "other"}, other) }()

		other.send(bob, "b", addr("1.1.1.1:1"))

		h.want(other.sent(0), "b 1.1.1.1:1")
		if n := h.table.Counts(); n.Routes != 2 || n.Evicted != 1 {
			t.Errorf("counts %+v", n)
		}
		cancel()
		<-other.done
	})
}

func TestDecisionsUnderWayAreBounded(t *testing.T) {
	inHouse(t, Config{MaxPending: 4}, func(h *house) {
		decided := make(chan struct{})
		h.setRoute(func(f *framework.Flow) (Route, error) {
			<-decided
			return h.through("direct", f, f.Destination), nil
		})
		for port := range 10 {
			h.send(alice, "a", addr(fmt.Sprint("1.1.1.1:", port+1)))
		}
		h.settle()
		if n := h.table.Counts(); n.Pending != 4 || n.Routes != 4 || n.DroppedPending != 6 {
			t.Errorf("counts %+v", n)
		}

		close(decided)
		h.settle()
		h.send(alice, "a", addr("1.1.1.1:10"))
		h.settle()

		if n := h.table.Counts(); n.Pending != 0 || n.Routes != 5 {
			t.Errorf("counts %+v", n)
		}
	})
}

func TestEndDuringADecisionWaitsForIt(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		decided := make(chan struct{})
		h.setRoute(func(f *framework.Flow) (Route, error) {
			<-decided
			return h.through("direct", f, f.Destination), nil
		})
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()

		h.stop()
		h.settle()
		select {
		case <-h.done:
			t.Error("Serve returned before the router did")
		default:
		}
		close(decided)
		err := <-h.done
		h.done <- err

		if len(h.exits) != 0 {
			t.Errorf("%d packet conns dialled after the end", len(h.exits))
		}
	})
}

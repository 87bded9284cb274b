package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

func TestDestinationsOfASourceShareAPacketConn(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()
		h.send(alice, "b", addr("2.2.2.2:2"))
		h.want(h.sent(0), "a 1.1.1.1:1", "b 2.2.2.2:2")

		h.answer(0, "A", addr("1.1.1.1:1"))
		h.answer(0, "B", addr("2.2.2.2:2"))
		h.answer(0, "C", addr("3.3.3.3:3"))

		h.want(h.got(), "A 1.1.1.1:1 to "+alice, "B 2.2.2.2:2 to "+alice, "C 3.3.3.3:3 to "+alice)
		if len(h.exits) != 1 {
			t.Errorf("%d packet conns, want one", len(h.exits))
		}
		if up, down := h.stats.Bytes(); up != 2 || down != 3 {
			t.Errorf("counted %d up, %d down", up, down)
		}
	})
}

func TestSourcesDoNotShareAPacketConn(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()
		h.send(bob, "b", addr("1.1.1.1:1"))
		h.settle()
		h.answer(1, "B", addr("1.1.1.1:1"))

		h.want(h.got(), "B 1.1.1.1:1 to "+bob)
		if n := h.table.Counts(); n.Sessions != 2 || n.Routes != 2 {
			t.Errorf("counts %+v", n)
		}
	})
}

func TestEachDestinationIsRoutedOnce(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.setRoute(func(f *framework.Flow) (Route, error) {
			return h.through(fmt.Sprint("to port ", f.Destination.Port), f, f.Destination), nil
		})
		for range 3 {
			h.send(alice, "a", addr("1.1.1.1:1"))
			h.settle()
			h.send(alice, "b", addr("1.1.1.1:2"))
			h.settle()
		}

		h.want(h.sent(0), "a 1.1.1.1:1", "a 1.1.1.1:1", "a 1.1.1.1:1")
		h.want(h.sent(1), "b 1.1.1.1:2", "b 1.1.1.1:2", "b 1.1.1.1:2")
		if len(h.asked) != 2 {
			t.Errorf("the router was asked %v, want each once", h.asked)
		}
	})
}

func TestAnswersComeFromWhereTheClientSent(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		to := map[string]framework.Addr{"198.18.0.1:7": addr("9.9.9.9:7"), "198.18.0.2:7": addr("one.example:7"), "two.example:8": addr("two.example:8")}
		h.setRoute(func(f *framework.Flow) (Route, error) {
			return h.through("proxy", f, to[f.Destination.String()]), nil
		})
		for _, d := range []string{"198.18.0.1:7", "198.18.0.2:7", "two.example:8"} {
			h.send(alice, "q", addr(d))
			h.settle()
		}
		h.want(h.sent(0), "q 9.9.9.9:7", "q one.example:7", "q two.example:8")

		for _, from := range []string{"9.9.9.9:7", "8.8.8.8:7", "8.8.8.8:8", "8.8.8.9:8", "8.8.8.8:9", "two.example:8"} {
			h.answer(0, "r", addr(from))
		}

		h.want(h.got(), "r 198.18.0.1:7 to "+alice, "r 198.18.0.2:7 to "+alice, "r two.example:8 to "+alice,
			"r two.example:8 to "+alice, "r 8.8.8.8:9 to "+alice, "r two.example:8 to "+alice)
	})
}

func TestNamesAtOnePortAnswerInTheOrderOfTheirQuestions(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		for _, d := range []string{"one.example:3478", "two.example:3478"} {
			h.send(alice, "q", addr(d))
			h.settle()
		}
		for _, from := range []string{"8.0.0.1:3478", "8.0.0.2:3478", "8.0.0.1:3478", "8.0.0.3:3478"} {
			h.answer(0, "r", addr(from))
		}

		h.want(h.got(), "r one.example:3478 to "+alice, "r two.example:3478 to "+alice,
			"r one.example:3478 to "+alice, "r 8.0.0.3:3478 to "+alice)
	})
}

func TestTwoNamesForOneAddressAnswerAsTheOneAskedLast(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.setRoute(func(f *framework.Flow) (Route, error) { return h.through("d", f, addr("9.9.9.9:7")), nil })
		for _, d := range []string{"198.18.0.1:7", "198.18.0.2:7", "198.18.0.1:7"} {
			h.send(alice, "q", addr(d))
			h.settle()
			h.answer(0, "r", addr("9.9.9.9:7"))
			h.want(h.got(), "r "+d+" to "+alice)
		}
	})
}

func TestPacketsKeepTheirOrderWhileTheRouteIsDecided(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		decided := make(chan struct{})
		h.setRoute(func(f *framework.Flow) (Route, error) {
			if f.Destination.Port == 1 {
				<-decided
			}
			return h.through("direct", f, f.Destination), nil
		})
		var want []string
		for i := range maxQueued + 5 {
			h.send(alice, fmt.Sprint(i), addr("1.1.1.1:1"))
			if i < maxQueued {
				want = append(want, fmt.Sprint(i, " 1.1.1.1:1"))
			}
		}
		h.send(alice, "x", addr("1.1.1.1:2"))
		h.want(h.sent(0), "x 1.1.1.1:2")

		close(decided)

		h.want(h.sent(0), want...)
		if n := h.table.Counts().DroppedQueue; n != 5 {
			t.Errorf("%d packets dropped, want 5", n)
		}
	})
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	var q queue
	if !q.push(make([]byte, 60000)) || q.push(make([]byte, 6000)) || !q.push(make([]byte, 5000)) || !q.push(nil) {
		t.Error("queue takes what it should not")
	}
	var sizes []int
	q.each(func(b []byte) { sizes = append(sizes, len(b)) })
	if !slices.Equal(sizes, []int{60000, 5000, 0}) {
		t.Errorf("got %v", sizes)
	}
}

func TestDroppedFlowsGetNoAnswerAndAreAskedAgainLater(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.setRoute(func(f *framework.Flow) (Route, error) { return Route{Drop: true}, nil })
		for range 3 {
			h.send(alice, "a", addr("1.1.1.1:1"))
			h.settle()
		}
		if n := h.table.Counts(); n.DroppedPolicy != 3 || len(h.asked) != 1 {
			t.Errorf("counts %+v, asked %d times", n, len(h.asked))
		}

		time.Sleep(12 * time.Second)
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()

		if len(h.asked) != 2 {
			t.Errorf("asked %d times, want 2", len(h.asked))
		}
	})
}

func TestFailedRouteIsNotAskedForAWhile(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.setRoute(func(f *framework.Flow) (Route, error) {
			if f.Destination.Port == 1 {
				return Route{}, framework.ErrUnreachable
			}
			rt := h.through("dead", f, f.Destination)
			rt.Dial = func(context.Context) (framework.PacketConn, error) { return nil, framework.ErrTimeout }
			return rt, nil
		})
		for range 100 {
			h.send(alice, "a", addr("1.1.1.1:1"))
			h.send(alice, "a", addr("1.1.1.1:2"))
			h.settle()
		}
		if n := h.table.Counts(); len(h.asked) != 2 || n.FailedRoutes != 2 || n.DroppedFailed != 198 {
			t.Errorf("asked %d times, counts %+v", len(h.asked), n)
		}
		h.stats.FinishedFlows(func(l stats.FlowLabels, n uint64) {
			if l.Reason != "timeout" || n != 1 {
				t.Errorf("%d flows ended with %q", n, l.Reason)
			}
		})

		time.Sleep(3 * time.Second)
		h.setRoute(nil)
		h.send(alice, "a", addr("1.1.1.1:1"))

		h.want(h.sent(0), "a 1.1.1.1:1")
	})
}

func TestRefusedPacketsDoNotEndTheSession(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()
		h.exits[0].refuse = syscall.EMSGSIZE
		h.send(alice, "b", addr("1.1.1.1:1"))
		h.settle()
		h.exits[0].refuse = nil
		h.send(alice, "c", addr("1.1.1.1:1"))

		h.want(h.sent(0), "a 1.1.1.1:1", "b 1.1.1.1:1", "c 1.1.1.1:1")
		if n := h.table.Counts(); n.FailedWrites != 1 || len(h.asked) != 1 {
			t.Errorf("counts %+v, asked %d times", n, len(h.asked))
		}
	})
}

func TestBrokenPacketConnIsReplacedAtTheNextPacket(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()
		h.answer(0, "A", addr("1.1.1.1:1"))
		h.settle()
		h.exits[0].Close()
		h.settle()
		if n := h.table.Counts(); n.Routes != 0 {
			t.Errorf("counts %+v", n)
		}

		h.send(alice, "b", addr("1.1.1.1:1"))

		h.want(h.sent(1), "b 1.1.1.1:1")
	})
}

func TestPacketConnThatBreaksUnheardIsNotReplacedForAWhile(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()
		h.exits[0].Close()
		h.settle()
		for range 10 {
			h.send(alice, "b", addr("1.1.1.1:1"))
		}
		h.settle()
		if len(h.exits) != 1 {
			t.Errorf("%d dials, want one", len(h.exits))
		}

		time.Sleep(3 * time.Second)
		h.send(alice, "c", addr("1.1.1.1:1"))

		h.want(h.sent(1), "c 1.1.1.1:1")
	})
}

func TestServeReturnsWhatEndedIt(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.send(alice, "a", addr("1.1.1.1:1"))
		h.settle()

		h.stop()

		err := <-h.done
		h.done <- err
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestEmptyAndLongestDatagramsPass(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		long := strings.Repeat("x", 65507)
		for _, s := range []string{"", long, ""} {
			h.send(alice, s, addr("1.1.1.1:1"))
			h.settle()
		}
		h.answer(0, long, addr("1.1.1.1:1"))

		h.want(h.sent(0), " 1.1.1.1:1", long+" 1.1.1.1:1", " 1.1.1.1:1")
		h.want(h.got(), long+" 1.1.1.1:1 to "+alice)
	})
}

// brittle is a PacketConn that panics when it is read.
type brittle struct{ *exit }

func (brittle) ReadPacket([]byte) (int, framework.Addr, error) { panic("brittle") }

func TestPanicOfAPacketConnEndsItsRoutesOnly(t *testing.T) {
	inHouse(t, Config{}, func(h *house) {
		h.setRoute(func(f *framework.Flow) (Route, error) {
			r := h.through("out", f, f.Destination)
			r.Dial = func(context.Context) (framework.PacketConn, error) { return brittle{&exit{wire: newWire()}}, nil }
			return r, nil
		})
		h.send("127.0.0.1:1", "ping", addr("192.0.2.1:53"))
		h.settle()
		h.setRoute(func(f *framework.Flow) (Route, error) { return h.through("other", f, f.Destination), nil })
		h.send("127.0.0.1:2", "ping", addr("192.0.2.1:53"))
		h.settle()

		if got := h.sent(0); len(got) != 1 {
			t.Errorf("the next source sent %v, want one packet", got)
		}
	})
}

package kernel

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func deadline() time.Time { return time.Now().Add(10 * time.Second) }

// leave marks an owner as leaving.
func leave(o *owner) *owner {
	o.leaving.Store(true)
	return o
}

func TestSocketGoesFromOneHolderToTheNext(t *testing.T) {
	t.Parallel()
	var s sockets
	ctx, lc := context.Background(), net.ListenConfig{}
	first, second := &owner{name: "first"}, &owner{name: "second"}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	a, err := s.listen(ctx, lc, first, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.listen(ctx, lc, second, address); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), `"first"`) {
		t.Fatalf("beside one that stays: %v", err)
	}

	leave(first)
	b, err := s.listen(ctx, lc, second, address)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 2 {
		a.Close()
	}

	c, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	b.Close()
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("the socket outlives its last holder")
	}
	if len(s.open) != 0 {
		t.Errorf("%d sockets are remembered", len(s.open))
	}
}

func TestPacketSocketGoesFromOneHolderToTheNext(t *testing.T) {
	t.Parallel()
	var s sockets
	ctx, lc := context.Background(), net.ListenConfig{}
	first := &owner{name: "first"}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	free.Close()
	a, err := s.listenPacket(ctx, lc, first, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.listenPacket(ctx, lc, &owner{}, address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("beside one that stays: %v", err)
	}
	leave(first)
	b, err := s.listenPacket(ctx, lc, &owner{name: "second"}, address)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	for range 2 {
		a.Close()
	}
	client.Write([]byte("hello"))

	buf := make([]byte, 16)
	b.SetReadDeadline(deadline())
	if n, _, err := b.ReadFrom(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	b.Close()
	if len(s.open) != 0 {
		t.Errorf("%d sockets are remembered", len(s.open))
	}
}

func TestWhoWaitsInTheQueueOfAClosingSocketIsServed(t *testing.T) {
	t.Parallel()
	var s sockets
	l, err := s.listen(context.Background(), net.ListenConfig{}, &owner{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var clients []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}

	l.Close()

	if runtime.GOOS == "linux" {
		for range clients {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte("x"))
			c.Close()
		}
		for _, c := range clients {
			c.SetDeadline(deadline())
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestAnyPortIsASocketOfItsOwn(t *testing.T) {
	t.Parallel()
	var s sockets
	a, err := s.listen(context.Background(), net.ListenConfig{}, &owner{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := s.listen(context.Background(), net.ListenConfig{}, &owner{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	if a.Addr().String() == b.Addr().String() {
		t.Errorf("both at %v", a.Addr())
	}
}

func TestQueueKeepsTheNewestDocument(t *testing.T) {
	t.Parallel()
	var q queue
	ctx := context.Background()
	first := q.put(ctx, nil, Options{})
	second := q.put(ctx, nil, Options{CutNow: true})

	taken := q.take()

	if first != second || taken != first || !taken.opt.CutNow || q.take() != nil {
		t.Errorf("first %p, second %p, taken %p %+v", first, second, taken, taken.opt)
	}
	if third := q.put(ctx, nil, Options{}); third == first {
		t.Error("a document that came later joined one that was taken")
	}
}

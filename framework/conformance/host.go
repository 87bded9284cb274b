package conformance

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/dialer"
)

// host is the framework.Host of the instances under trial. It counts what they
// ask for and remembers the sockets that they got.
type host struct {
	t    *trial
	dial framework.Dialer
	used atomic.Int64 // dials, lookups and listens

	stall   atomic.Bool   // dials wait for the end of their context
	stalled chan struct{} // gets one for each dial that waits

	dirOnce sync.Once
	dir     string

	mu      sync.Mutex // guards sockets
	sockets []syscall.Conn
}

func newHost(t *trial) *host {
	h := &host{t: t, stalled: make(chan struct{}, 1000)}
	h.dial = dialer.New(names{}, dialer.Options{}, nil)
	return h
}

// Name implements framework.Host.
func (h *host) Name() string { return "under trial" }

// Log implements framework.Host.
func (h *host) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Dialer implements framework.Host.
func (h *host) Dialer() framework.Dialer { return h }

// Resolver implements framework.Host.
func (h *host) Resolver() framework.Resolver { return h }

// Dir implements framework.Host: a folder that is there for the check.
func (h *host) Dir() string {
	h.dirOnce.Do(func() {
		dir, err := os.MkdirTemp("", "conformance")
		if err != nil {
			h.t.errorf("%v", err)
			return
		}
		h.dir = dir
		h.t.cleanup(func() { os.RemoveAll(dir) })
	})
	return h.dir
}

// Listen implements framework.Host.
func (h *host) Listen(context.Context, string) (net.Listener, error) {
	h.used.Add(1)
	return nil, errors.ErrUnsupported
}

// ListenPacket implements framework.Host.
func (h *host) ListenPacket(context.Context, string) (net.PacketConn, error) {
	h.used.Add(1)
	return nil, errors.ErrUnsupported
}

// Admission implements framework.Host.
func (h *host) Admission() framework.Admission { return everybody{} }

// Count implements framework.Host.
func (h *host) Count(string, uint64) {}

// Lookup implements framework.Resolver.
func (h *host) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	h.used.Add(1)
	return names{}.Lookup(ctx, name)
}

// DialStream implements framework.Dialer.
func (h *host) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	if err := h.begin(ctx); err != nil {
		return nil, err
	}
	c, err := h.dial.DialStream(ctx, to)
	if err != nil {
		return nil, err
	}
	h.keep(c.(syscall.Conn)) // a socket of the system
	return c, nil
}

// DialPacket implements framework.Dialer.
func (h *host) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	if err := h.begin(ctx); err != nil {
		return nil, err
	}
	c, err := h.dial.DialPacket(ctx, to)
	if err != nil {
		return nil, err
	}
	h.keep(c.(syscall.Conn))
	return c, nil
}

func (h *host) begin(ctx context.Context) error {
	h.used.Add(1)
	if !h.stall.Load() {
		return nil
	}
	h.stalled <- struct{}{}
	<-ctx.Done()
	return framework.Classed(framework.ErrTimeout, ctx.Err())
}

func (h *host) keep(s syscall.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets = append(h.sockets, s)
}

// open counts the sockets that nobody closed. In a plugin of another process
// that is the kernel's side of them only.
func (h *host) open() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sockets {
		raw, err := s.SyscallConn()
		if err == nil {
			err = raw.Control(func(uintptr) {})
		}
		if err == nil {
			n++
		}
	}
	return n
}

// names resolves localhost, and addresses that are written as names.
type names struct{}

// Lookup implements framework.Resolver.
func (names) Lookup(_ context.Context, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip}, nil
	}
	if name == "localhost" {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// everybody may come in.
type everybody struct{}

func (everybody) Allowed(netip.Addr) bool   { return true }
func (everybody) Required(netip.Addr) bool  { return false }
func (everybody) Check(string, string) bool { return true }

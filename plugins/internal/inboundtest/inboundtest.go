// Package inboundtest is the kernel that the tests of inbounds need: a Host
// that binds loopback sockets and a Handler that dials and copies. It has no
// rules and no outbounds.
package inboundtest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// Host is a framework.Host named "test-in".
type Host struct {
	Home   string              // what Dir returns
	Access framework.Admission // what Admission returns; nil admits everybody

	mu    sync.Mutex // guards bound
	bound string
}

// NewHost makes a Host without users.
func NewHost() *Host { return new(Host) }

func (h *Host) Name() string                 { return "test-in" }
func (h *Host) Log() *slog.Logger            { return slog.New(slog.DiscardHandler) }
func (h *Host) Dialer() framework.Dialer     { return nil }
func (h *Host) Resolver() framework.Resolver { return nil }
func (h *Host) Dir() string                  { return h.Home }
func (h *Host) Count(string, uint64)         {}

// Admission is Access.
func (h *Host) Admission() framework.Admission {
	if h.Access == nil {
		return Access{}
	}
	return h.Access
}

// Listen binds TCP.
func (h *Host) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bound = l.Addr().String()
	}
	return l, err
}

// ListenPacket binds UDP.
func (h *Host) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, "udp", address)
}

// Access is an Admission: the zero value admits everybody, with a User it asks
// for that user.
type Access struct {
	User, Password string
	Deny           bool // refuses every source
}

func (a Access) Allowed(netip.Addr) bool  { return !a.Deny }
func (a Access) Required(netip.Addr) bool { return a.User != "" }
func (a Access) Check(user, password string) bool {
	return user == a.User && password == a.Password
}

// Handler dials every stream on loopback and echoes every packet.
type Handler struct {
	// Dial replaces the dial of a stream: by default the port of to on
	// loopback, whatever its host is.
	Dial func(to framework.Addr) (net.Conn, error)

	mu      sync.Mutex // guards all below
	flows   []framework.Flow
	packets []framework.PacketMeta
	live    sync.WaitGroup
}

// Flows are the flows so far.
func (h *Handler) Flows() []framework.Flow {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]framework.Flow(nil), h.flows...)
}

// Packets says where the packets so far came from.
func (h *Handler) Packets() []framework.PacketMeta {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]framework.PacketMeta(nil), h.packets...)
}

// Wait returns when all flows have ended.
func (h *Handler) Wait() { h.live.Wait() }

// HandleStream dials and copies both ways until both sides end.
func (h *Handler) HandleStream(_ context.Context, s framework.Stream, f *framework.Flow) {
	h.live.Add(1)
	defer h.live.Done()
	defer s.Conn.Close()
	h.mu.Lock()
	h.flows = append(h.flows, *f)
	h.mu.Unlock()
	dial := h.Dial
	if dial == nil {
		dial = loopback
	}
	server, err := dial(f.Destination)
	if err != nil {
		s.Client.Reply(err)
		return
	}
	defer server.Close()
	if s.Client.Reply(nil) != nil {
		return
	}
	if _, err := server.Write(s.Head); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(server, s.Conn)
	}()
	pass(s.Conn, server)
	<-done
}

// pass copies until src ends, and then half-closes dst.
func pass(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	half, ok := dst.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		dst.Close()
		src.Close()
	}
}

func loopback(to framework.Addr) (net.Conn, error) {
	return net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(to.Port))))
}

// HandlePackets sends each packet back as if from where it went.
func (h *Handler) HandlePackets(_ context.Context, s framework.PacketServer, _ framework.Origin) {
	h.live.Add(1)
	defer h.live.Done()
	defer s.Close()
	b := make([]byte, 65535)
	var m framework.PacketMeta
	for {
		n, err := s.ReadPacket(b, &m)
		if err != nil {
			return
		}
		h.mu.Lock()
		h.packets = append(h.packets, m)
		h.mu.Unlock()
		if s.WritePacket(b[:n], m.Source, m.Destination) != nil {
			return
		}
	}
}

// Run starts an inbound that listens on one free port of 127.0.0.1, and stops
// it with the test. It returns the inbound's address.
func Run(t testing.TB, in framework.Inbound, host *Host, h framework.Handler) string {
	t.Helper()
	t.Cleanup(func() { in.Close() })
	if err := in.Start(context.Background(), h); err != nil {
		t.Fatal(err)
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	return host.bound
}

// Echo starts a TCP server that sends back what it gets, and stops it with the
// test.
func Echo(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the client
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

package socks5

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/handshake"
	socks "github.com/culvert-proxy/culvert/plugins/internal/socks5"
)

var (
	errNoUDP   = framework.Classed(framework.ErrUnsupported, errors.New("socks5: udp is not switched on (udp: true)"))
	errNoRelay = framework.Classed(framework.ErrProtocol, errors.New("socks5: the server gives port 0 as its relay"))
	errEnded   = framework.Classed(framework.ErrRefused, errors.New("socks5: the server ended the association"))
)

// DialPacket makes an association with the server and a socket to its relay.
func (o *outbound) DialPacket(ctx context.Context, _ framework.Addr) (framework.PacketConn, error) {
	if !o.config.UDP {
		return nil, errNoUDP
	}
	c, err := o.dial(ctx)
	if err != nil {
		return nil, err
	}
	var relay framework.Addr
	err = handshake.Do(ctx, c, func() (err error) {
		relay, err = socks.Associate(c, o.config.Username, string(o.config.Password))
		return err
	})
	if err == nil && relay.Port == 0 {
		err = errNoRelay
	}
	if err != nil {
		c.Close()
		return nil, o.failed(err)
	}
	if relay.Host == "" && relay.IP.IsUnspecified() {
		relay = o.serverRelay(ctx, c, relay.Port)
	}
	pc, err := o.host.Dialer().DialPacket(ctx, relay)
	if err != nil {
		c.Close()
		return nil, err
	}
	a := &association{control: c, relay: relay, packets: pc, out: o.buffers, gone: make(chan struct{})}
	go a.watch()
	return a, nil
}

// serverRelay is the relay of a server that does not say its address. It is
// the address that the control connection goes to when that is known to be
// the server's; through a chain the connection goes to another host, which
// then resolves the server's name.
func (o *outbound) serverRelay(ctx context.Context, c net.Conn, port uint16) framework.Addr {
	relay := framework.Addr{Host: o.server.Host, IP: o.server.IP, Port: port}
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if relay.Host == "" || !ok || remote.Port != int(o.server.Port) {
		return relay
	}
	ip := remote.AddrPort().Addr().Unmap()
	ips, err := o.host.Resolver().Lookup(ctx, relay.Host)
	if err == nil && slices.Contains(ips, ip) {
		return framework.Addr{IP: ip, Port: port}
	}
	return relay
}

// association is a framework.PacketConn. It owns the control connection, whose
// end is its own end, and the socket to the relay.
type association struct {
	control net.Conn
	relay   framework.Addr
	packets framework.PacketConn
	gone    chan struct{} // closed when the watcher of control has ended

	close sync.Once
	mu    sync.Mutex // guards ended
	ended error      // why reads and writes fail; nil while open

	out buffers // the outbound's: several goroutines may write

	// For ReadPacket's goroutine.
	in    []byte
	names socks.Names
}

// watch reads the control connection, on which nothing comes, until it ends.
func (a *association) watch() {
	defer close(a.gone)
	io.Copy(io.Discard, a.control) // ends with the connection, which Close closes
	a.end(errEnded)
}

// end closes both sides; the first reason stays.
func (a *association) end(why error) {
	a.mu.Lock()
	if a.ended == nil {
		a.ended = why
	}
	a.mu.Unlock()
	a.close.Do(func() {
		a.control.Close()
		a.packets.Close()
	})
}

// Close ends the association.
func (a *association) Close() error {
	a.end(net.ErrClosed)
	<-a.gone
	return nil
}

// reason is why an error came: the end of the association, if it has ended.
func (a *association) reason(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil {
		return a.ended
	}
	return err
}

// SetReadDeadline implements framework.PacketConn.
func (a *association) SetReadDeadline(t time.Time) error { return a.packets.SetReadDeadline(t) }

// ReadPacket implements framework.PacketConn. Datagrams that are not from the
// relay, or not in its format, are skipped: anybody can send those.
func (a *association) ReadPacket(b []byte) (int, framework.Addr, error) {
	if need := len(b) + socks.MaxHeader; len(a.in) < need {
		a.in = make([]byte, need)
	}
	for {
		n, from, err := a.packets.ReadPacket(a.in)
		if err != nil {
			return 0, framework.Addr{}, a.reason(err)
		}
		if !a.fromRelay(from) {
			continue
		}
		source, header, err := socks.ParseHeader(a.in[:n], &a.names)
		if err == nil {
			return copy(b, a.in[header:n]), source, nil
		}
	}
}

// fromRelay says whether from is the relay. A relay that is known by name only
// is told by its port.
func (a *association) fromRelay(from framework.Addr) bool {
	same := a.relay.Host != "" || from.Host != "" || from.IP == a.relay.IP
	return same && from.Port == a.relay.Port
}

// WritePacket implements framework.PacketConn.
func (a *association) WritePacket(b []byte, to framework.Addr) (int, error) {
	buf, err := socks.AppendHeader(a.out.get(), to)
	if err != nil {
		return 0, err
	}
	buf = append(buf, b...)
	_, err = a.packets.WritePacket(buf, a.relay)
	a.out.put(buf)
	if err != nil {
		return 0, a.reason(err)
	}
	return len(b), nil
}

// spare is how many buffers an outbound keeps. Chosen: more than goroutines
// that write at one moment on a small machine.
const spare = 8

// buffers is a free list: a get from an empty one allocates, a put to a full
// one drops.
type buffers chan []byte

// get is an empty buffer, which the caller owns.
func (f buffers) get() []byte {
	select {
	case b := <-f:
		return b[:0]
	default:
		return make([]byte, 0, 2048) // fits a packet of usual size with its header
	}
}

func (f buffers) put(b []byte) {
	select {
	case f <- b:
	default:
	}
}

var _ framework.PacketCarrier = (*outbound)(nil)

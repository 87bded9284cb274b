package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/culvert-proxy/culvert/framework"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// Client is the kernel's view of one running process. It is safe for
// concurrent use; Remote.Detach closes what it holds.
type Client struct {
	pb.PluginClient
	dial  func(ctx context.Context) (net.Conn, error)
	token Token
	flows atomic.Uint64
	idle  idle
}

// NewClient makes a Client over a control connection. dial opens a connection
// to the process's data socket.
func NewClient(control grpc.ClientConnInterface, t Token, dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{PluginClient: pb.NewPluginClient(control), dial: dial, token: t}
}

// Token is the token of the launch.
func (c *Client) Token() Token { return c.token }

// dialStream opens a flow of the instance handle.
func (c *Client) dialStream(ctx context.Context, handle uint32, to framework.Addr) (net.Conn, error) {
	conn, fd, err := c.request(ctx, &Header{Handle: handle, Network: NetworkTCP, To: to, Descriptor: passesDescriptors})
	if err != nil || fd < 0 {
		return conn, err
	}
	c.idle.put(conn)
	out, err := streamOf(fd)
	return out, framework.Classed(framework.ErrProtocol, err)
}

// dialPacket opens a packet session of the instance handle.
func (c *Client) dialPacket(ctx context.Context, handle uint32, to framework.Addr) (framework.PacketConn, error) {
	conn, fd, err := c.request(ctx, &Header{Handle: handle, Network: NetworkUDP, To: to})
	if err != nil {
		return nil, err
	}
	drop(fd)
	return NewPacketConn(conn), nil
}

// request sends h on a connection of its own and reads the answer. Without an
// error the caller owns the connection and fd, which is -1 when none came.
func (c *Client) request(ctx context.Context, h *Header) (net.Conn, int, error) {
	h.Token = c.token
	binary.BigEndian.PutUint64(h.Flow[8:], c.flows.Add(1))
	conn, fd, _, err := askOver(ctx, &c.idle, c.dial, h)
	return conn, fd, err
}

// askOver sends h on a connection that waits, or on one of its own.
func askOver(ctx context.Context, waiting *idle, dial func(context.Context) (net.Conn, error), h *Header) (net.Conn, int, Reply, error) {
	for {
		conn, fresh := waiting.get(), false
		if conn == nil {
			var err error
			if conn, err = dial(ctx); err != nil {
				class := framework.ErrUnavailable
				if ctx.Err() != nil {
					class = framework.ErrTimeout
				}
				return nil, -1, Reply{}, framework.Classed(class, fmt.Errorf("plugin: %w", err))
			}
			fresh = true
		}
		fd, r, err := ask(ctx, conn, h)
		if err == nil {
			return conn, fd, r, nil
		}
		conn.Close()
		if fresh || !errors.Is(err, framework.ErrUnavailable) { // the peer may have closed one that waited
			return nil, -1, r, err
		}
	}
}

// ask writes h to conn and reads the reply. conn's deadline is none after it.
func ask(ctx context.Context, conn net.Conn, h *Header) (fd int, r Reply, err error) {
	if err := checkPeer(conn); err != nil {
		return -1, r, framework.Classed(framework.ErrUnavailable, err)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(headerWait)
	}
	h.Timeout = max(time.Until(deadline), time.Millisecond)
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	fd, err = exchange(conn, h, &r)
	if !stop() && err == nil {
		drop(fd)
		err = ctx.Err()
	}
	if err != nil {
		return -1, r, requestError(ctx, err)
	}
	conn.SetDeadline(time.Time{})
	return fd, r, nil
}

// exchange writes h and reads its reply, and no byte more.
func exchange(conn net.Conn, h *Header, r *Reply) (int, error) {
	var space [512]byte
	b, err := h.Append(space[:0])
	if err != nil {
		return -1, framework.Classed(framework.ErrUnsupported, err)
	}
	if _, err := conn.Write(b); err != nil {
		return -1, err
	}
	fd, err := receive(conn, space[:prefix])
	if err != nil {
		return -1, err
	}
	body := make([]byte, binary.BigEndian.Uint16(space[1:]))
	if _, err = io.ReadFull(conn, body); err == nil {
		err = r.Parse(Status(space[0]), body)
		if errors.Is(err, errShort) {
			err = framework.Classed(framework.ErrProtocol, fmt.Errorf("reply of the plugin: %w", err))
		}
	}
	if err == nil {
		err = r.Status.Err(r.Text)
	}
	if err == nil && r.Descriptor != (fd >= 0) {
		err = framework.Classed(framework.ErrProtocol, errors.New("reply of the plugin: option and descriptor do not agree"))
	}
	if err != nil {
		drop(fd)
		return -1, err
	}
	return fd, nil
}

// requestError gives an error of a request its class. A connection that ends
// without a reply means that the process went away.
func requestError(ctx context.Context, err error) error {
	var timeout net.Error
	var op *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return framework.Classed(framework.ErrTimeout, errors.New("the plugin did not answer in time"))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return framework.Classed(framework.ErrUnavailable, errors.New("the plugin closed the connection before it answered"))
	}
	return err
}

// control says in the kernel's words what a failed control call means.
func control(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.DeadlineExceeded:
		return framework.Classed(framework.ErrTimeout, errors.New("the plugin did not answer in time"))
	case codes.Unavailable, codes.Canceled:
		return framework.Classed(framework.ErrUnavailable, errors.New("the plugin is not running"))
	case codes.ResourceExhausted:
		return framework.Classed(framework.ErrProtocol, fmt.Errorf("the plugin's answer is longer than %d bytes", MaxMessage))
	case codes.Unimplemented:
		return framework.Classed(framework.ErrUnsupported, fmt.Errorf("the plugin does not serve this call: %s", status.Convert(err).Message()))
	}
	return framework.Classed(framework.ErrProtocol, errors.New(status.Convert(err).Message()))
}

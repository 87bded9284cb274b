package wire

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"

	"github.com/culvert-proxy/culvert/framework"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// outbound is an outbound whose code runs in another process.
type outbound struct {
	instance
	packets bool // the type carries packets
}

// DialStream implements framework.Dialer. What it returns is a raw socket: the
// flow's own to the process, or the one that the process handed back.
func (o *outbound) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	return dialOver(o, func(c *Client) (net.Conn, error) { return c.dialStream(ctx, o.handle, to) })
}

// dialOver dials through the process in use. When that has just been replaced,
// the dial goes to the next one.
func dialOver[T any](o *outbound, dial func(c *Client) (T, error)) (T, error) {
	for {
		var none T
		c, err := o.client()
		if err != nil {
			return none, err
		}
		got, err := dial(c)
		if err == nil || !errors.Is(err, framework.ErrUnavailable) {
			return got, err
		}
		if next := o.at.Load(); next == c || next == nil {
			return none, err
		}
	}
}

// DialPacket implements framework.Dialer.
func (o *outbound) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	return dialOver(o, func(c *Client) (framework.PacketConn, error) { return c.dialPacket(ctx, o.handle, to) })
}

// CarriesPackets implements framework.PacketCarrier.
func (o *outbound) CarriesPackets() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reply != nil && o.reply.Packets != nil {
		return *o.reply.Packets
	}
	return o.packets
}

// fetcher is a fetcher whose code runs in another process.
type fetcher struct{ instance }

// Fetch implements framework.Fetcher. The context governs the body too.
func (f *fetcher) Fetch(ctx context.Context, since framework.Version) (framework.Document, error) {
	c, err := f.client()
	if err != nil {
		return framework.Document{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.Fetch(ctx, &pb.FetchRequest{Handle: f.handle, Since: string(since)})
	if err != nil {
		cancel()
		return framework.Document{}, control(err)
	}
	first, err := stream.Recv()
	switch {
	case err == io.EOF:
		cancel()
		return framework.Document{}, framework.Classed(framework.ErrProtocol, io.ErrUnexpectedEOF)
	case err != nil:
		cancel()
		return framework.Document{}, control(err)
	case first.Status != 0:
		cancel()
		return framework.Document{}, chunkError(first)
	case first.Unchanged:
		cancel()
		return framework.Document{}, framework.ErrUnchanged
	}
	doc := framework.Document{Version: framework.Version(first.Version), Body: &body{stream: stream, rest: first.Data, cancel: cancel}}
	if len(first.Header) > 0 {
		doc.Header = map[string][]string{}
		for k, v := range first.Header {
			doc.Header[k] = v.GetValues()
		}
	}
	return doc, nil
}

func chunkError(c *pb.Chunk) error {
	return Status(min(c.Status, uint32(Other))).Err(printable([]byte(c.Error)))
}

// body reads the bytes of a fetched document.
type body struct {
	stream grpc.ServerStreamingClient[pb.Chunk]
	rest   []byte
	cancel context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		chunk, err := b.stream.Recv()
		if err == io.EOF {
			return 0, io.EOF
		}
		if err != nil {
			return 0, control(err)
		}
		if chunk.Status != 0 {
			return 0, chunkError(chunk)
		}
		b.rest = chunk.Data
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Close() error {
	b.cancel()
	return nil
}

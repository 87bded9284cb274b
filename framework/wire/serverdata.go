package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"github.com/culvert-proxy/culvert/framework"
)

// ServeData takes flows from ln until it closes, and returns when they have
// ended. It may be called for several listeners.
func (s *Server) ServeData(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s.ServeFlow(c)
	}
}

// ServeFlow serves the flow that begins on c, in a goroutine of its own. It
// takes ownership of c.
func (s *Server) ServeFlow(c net.Conn) {
	s.flows.serve(c, func() { s.serveFlow(c) })
}

// serveFlow serves what kernels ask for on c: the socket of one flow, or of
// many that are handed back.
func (s *Server) serveFlow(c net.Conn) {
	var h Header
	for first := true; ; first = false {
		if err := begin(c, s.Token, &h, first); err != nil {
			if !errors.Is(err, errToken) && err != io.EOF {
				s.Log.Debug("a flow is refused", "err", err)
				refuse(c, framework.Classed(framework.ErrProtocol, err))
			}
			return
		}
		if !s.enter() {
			refuse(c, framework.Classed(framework.ErrUnavailable, errors.New("the plugin is draining")))
			return
		}
		if !s.answer(c, &h) {
			return
		}
	}
}

// answer carries the flow that h asks for; more says that c can carry another.
func (s *Server) answer(c net.Conn, h *Header) (more bool) {
	defer s.leave()
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("panic", "in", "flow to "+h.To.String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			refuse(c, fmt.Errorf("panic in the plugin: %v", r))
		}
	}()
	v, err := s.instance(h.Handle)
	if err != nil {
		refuse(c, err)
		return false
	}
	out, ok := v.(framework.Outbound)
	switch {
	case !ok:
		refuse(c, framework.Classed(framework.ErrUnsupported, fmt.Errorf("instance %d is no outbound", h.Handle)))
	case h.Network == NetworkTCP:
		return s.stream(c, out, h)
	case h.Network == NetworkUDP:
		s.packets(c, out, h)
	default:
		refuse(c, framework.Classed(framework.ErrUnsupported, fmt.Errorf("network %d", h.Network)))
	}
	return false
}

func (s *Server) stream(c net.Conn, o framework.Outbound, h *Header) (more bool) {
	var out net.Conn
	err := dialing(c, h, func(ctx context.Context) (err error) {
		out, err = o.DialStream(ctx, h.To)
		return err
	})
	if err != nil {
		refuse(c, err)
		return false
	}
	return answerStream(c, out, h.Descriptor, &s.buffers)
}

func (s *Server) packets(c net.Conn, o framework.Outbound, h *Header) {
	var out framework.PacketConn
	err := dialing(c, h, func(ctx context.Context) (err error) {
		out, err = o.DialPacket(ctx, h.To)
		return err
	})
	if err != nil {
		refuse(c, err)
		return
	}
	answerPackets(c, out)
}

// dialing calls f with the context of a dial.
func dialing(c net.Conn, h *Header, f func(ctx context.Context) error) error {
	ctx, done := dialContext(c, h)
	defer done()
	return f(ctx)
}

// enter counts a flow; false means that no more are taken.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.active++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.draining && s.active == 0 {
		close(s.drained)
	}
}

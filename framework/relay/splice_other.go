//go:build !linux

package relay

import (
	"net"
	"sync/atomic"
)

// pipes is empty where there is no splice.
type pipes struct{ max int64 }

func (p *pipes) close() {}

// copy moves bytes from src to dst until src ends, with io.EOF.
func (s *stream) copy(src, dst net.Conn, count *atomic.Uint64) error {
	return s.copyBuffered(src, dst, count)
}

package relay

import (
	"net"
	"sync/atomic"
)

// copyBuffered moves bytes through one pooled buffer until src ends, with
// io.EOF, or one side fails.
func (s *stream) copyBuffered(src, dst net.Conn, count *atomic.Uint64) error {
	b := s.relay.buffers.Get().(*[]byte)
	defer s.relay.buffers.Put(b)
	for {
		n, err := src.Read(*b)
		if n > 0 {
			w, werr := dst.Write((*b)[:n])
			count.Add(uint64(w))
			if werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}

package outboundtest

import (
	"io"
	"net"
	"sync"
	"time"
)

// Join carries bytes between a and b, half-closes too, and returns when both
// directions have ended. A server under test ends with it; it closes b.
func Join(a, b net.Conn) {
	var done sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			to.Close()
			from.Close()
			return
		}
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
	}
	done.Go(func() { oneWay(b, a) }) // ends with a, or with b's end
	oneWay(a, b)
	done.Wait()
	b.Close()
}

// DialBack connects a server under test to a destination on this machine.
func DialBack(address string) (net.Conn, error) {
	return net.DialTimeout("tcp", address, 10*time.Second)
}

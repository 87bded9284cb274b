package wire

import (
	"net"
	"sync"
)

// maxIdle is how many connections wait for their next request. Chosen: dials
// that are made at once on a busy proxy.
const maxIdle = 16

// idle keeps connections whose request is answered and that carry no flow: the
// next request goes there. A dial is two connections cheaper then. The peer may
// close them at any time. The zero idle is ready.
type idle struct {
	mu    sync.Mutex // guards list, ended
	list  []net.Conn
	ended bool
}

// get is a connection, nil for none.
func (i *idle) get() net.Conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.list) == 0 {
		return nil
	}
	c := i.list[len(i.list)-1]
	i.list = i.list[:len(i.list)-1]
	return c
}

// put keeps c, or closes it.
func (i *idle) put(c net.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended || len(i.list) == maxIdle {
		c.Close()
		return
	}
	i.list = append(i.list, c)
}

// end closes what waits, and what is put from now on.
func (i *idle) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended = true
	for _, c := range i.list {
		c.Close()
	}
	i.list = nil
}

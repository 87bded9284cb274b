package session

// What may wait for one decision. Chosen: a QUIC client's first flight, or a
// game's first half second, and not more than one longest datagram in bytes.
const (
	maxQueued     = 32
	maxQueueBytes = 64 << 10
)

// queue holds copies of datagrams in their order.
type queue struct {
	data  []byte
	sizes []int
}

// push adds a copy of b, unless the queue is full.
func (q *queue) push(b []byte) bool {
	if len(q.sizes) >= maxQueued || len(q.data)+len(b) > maxQueueBytes {
		return false
	}
	q.data = append(q.data, b...)
	q.sizes = append(q.sizes, len(b))
	return true
}

// each calls f with each datagram; f does not keep it.
func (q *queue) each(f func(b []byte)) {
	rest := q.data
	for _, n := range q.sizes {
		f(rest[:n:n])
		rest = rest[n:]
	}
}

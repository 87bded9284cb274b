package dispatch

import "sync/atomic"

// Lease counts the flows on a Node. Once the snapshot has let go of the node
// and the count is zero, done runs, once. The zero Lease is in use by nobody.
type Lease struct {
	count atomic.Int64
	done  func()
}

// retiredBit marks a count that no flow may join any more.
const retiredBit = 1 << 62

// Acquire takes a hold; false means that the node was retired, and a newer
// snapshot is to be asked.
func (l *Lease) Acquire() bool {
	for {
		n := l.count.Load()
		if n&retiredBit != 0 {
			return false
		}
		if l.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release lets go of a hold.
func (l *Lease) Release() {
	if l.count.Add(-1) == retiredBit && l.done != nil {
		l.done()
	}
}

// Retire takes the snapshot's hold away: when the last flow has let go, done
// runs, at once where there is none. It may be called once.
func (l *Lease) Retire(done func()) {
	l.done = done
	if l.count.Add(retiredBit) == retiredBit {
		done()
	}
}

// Holds is the number of flows on the node.
func (l *Lease) Holds() int64 { return l.count.Load() &^ retiredBit }

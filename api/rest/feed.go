package rest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// encoder appends one message to b.
type encoder func(b []byte) []byte

// feed encodes one message per interval and hands the same bytes to all its
// subscribers. It ticks only while it has any. A subscriber that lags loses
// the oldest messages and delays nobody.
type feed struct {
	ctx   context.Context // ends the ticker
	wg    *sync.WaitGroup // counts the ticker's goroutine
	every time.Duration
	start func() encoder // makes an encoder whose first message is one interval from now

	mu   sync.Mutex // guards subs, halt
	subs []chan *frame
	halt chan struct{} // closed to end the ticker; nil when it does not run
}

// feedQueue is how many messages wait for a slow subscriber. Chosen: one that
// is being written, and one that is fresh when that is done.
const feedQueue = 2

func newFeed(ctx context.Context, wg *sync.WaitGroup, every time.Duration, start func() encoder) *feed {
	return &feed{ctx: ctx, wg: wg, every: every, start: start}
}

// subscribe returns the coming messages; the receiver releases each. leave
// ends the subscription. The caller holds a count of wg.
func (f *feed) subscribe() (frames <-chan *frame, leave func()) {
	c := make(chan *frame, feedQueue)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = append(f.subs, c)
	if f.halt == nil {
		f.halt = make(chan struct{})
		f.wg.Add(1)
		go f.run(f.start(), f.halt)
	}
	return c, func() { f.leave(c) }
}

func (f *feed) leave(c chan *frame) {
	f.mu.Lock()
	f.subs = slices.DeleteFunc(f.subs, func(s chan *frame) bool { return s == c })
	if len(f.subs) == 0 && f.halt != nil {
		close(f.halt)
		f.halt = nil
	}
	f.mu.Unlock()
	for { // nobody sends to c after this point
		select {
		case fr := <-c:
			fr.release()
		default:
			return
		}
	}
}

// run ticks until halt is closed or the context ends.
func (f *feed) run(encode encoder, halt <-chan struct{}) {
	defer f.wg.Done()
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fr := newFrame(encode)
			f.send(fr)
			fr.release()
		case <-halt:
			return
		case <-f.ctx.Done():
			return
		}
	}
}

// send queues a message for all, in place of the oldest where a queue is full.
func (f *feed) send(fr *frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.subs {
		if len(c) == cap(c) {
			select {
			case old := <-c:
				old.release()
			default: // the subscriber was faster
			}
		}
		fr.refs.Add(1)
		c <- fr // has room: sends are made under the lock only
	}
}

// frame is one encoded message, shared by those that write it. The last to
// release it gives its buffer back.
type frame struct {
	data []byte
	refs atomic.Int32
}

var framePool = sync.Pool{New: func() any { return new(frame) }}

// newFrame encodes a message; the caller releases it.
func newFrame(encode encoder) *frame {
	fr := framePool.Get().(*frame)
	fr.refs.Store(1)
	fr.data = encode(fr.data[:0])
	return fr
}

func (fr *frame) release() {
	if fr.refs.Add(-1) == 0 {
		framePool.Put(fr)
	}
}

// flowFeeds are the feeds of /connections, one for each interval in use.
type flowFeeds struct {
	open func(every time.Duration) *feed

	mu sync.Mutex // guards m
	m  map[time.Duration]*sharedFeed
}

type sharedFeed struct {
	*feed
	users int
}

// take returns the feed of an interval; the caller gives it back.
func (ff *flowFeeds) take(every time.Duration) (f *feed, giveBack func()) {
	ff.mu.Lock()
	defer ff.mu.Unlock()
	s := ff.m[every]
	if s == nil {
		if ff.m == nil {
			ff.m = map[time.Duration]*sharedFeed{}
		}
		s = &sharedFeed{feed: ff.open(every)}
		ff.m[every] = s
	}
	s.users++
	return s.feed, func() {
		ff.mu.Lock()
		defer ff.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(ff.m, every)
		}
	}
}

package rest

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// countingFeed encodes 1, 2, 3 … from each start.
func countingFeed(ctx context.Context, wg *sync.WaitGroup, encoded *int) *feed {
	return newFeed(ctx, wg, time.Second, func() encoder {
		n := 0
		return func(b []byte) []byte { n++; *encoded++; return strconv.AppendInt(b, int64(n), 10) }
	})
}

func TestFeedEncodesOnceForAllAndOnlyWhileSomebodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		encoded := 0
		f := countingFeed(t.Context(), &wg, &encoded)
		time.Sleep(10 * time.Second)
		if encoded != 0 {
			t.Errorf("got %d messages without a subscriber", encoded)
		}

		a, leaveA := f.subscribe()
		b, leaveB := f.subscribe()
		start := time.Now()
		x, y := <-a, <-b
		if time.Since(start) != time.Second || x != y || string(x.data) != "1" || encoded != 1 {
			t.Errorf("got %q and %q after %v, %d encoded; want one message, shared, after a second", x.data, y.data, time.Since(start), encoded)
		}
		x.release()
		y.release()
		leaveA()
		leaveB()
		wg.Wait()
		time.Sleep(10 * time.Second)
		if encoded != 1 {
			t.Errorf("got %d messages after all left, want 1", encoded)
		}
	})
}

func TestFeedDropsTheOldestOfASlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		encoded := 0
		f := countingFeed(t.Context(), &wg, &encoded)
		slow, leave := f.subscribe()
		time.Sleep(10*time.Second + time.Millisecond)

		for _, want := range []string{"9", "10"} {
			fr := <-slow
			if string(fr.data) != want {
				t.Errorf("got %q, want %q", fr.data, want)
			}
			fr.release()
		}
		leave()
		wg.Wait()
	})
}

func TestFeedEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		encoded := 0
		_, leave := countingFeed(ctx, &wg, &encoded).subscribe()
		cancel()
		wg.Wait()
		leave()
	})
}

func TestFlowFeedsAreSharedByInterval(t *testing.T) {
	t.Parallel()
	ff := flowFeeds{open: func(every time.Duration) *feed { return &feed{every: every} }}

	a, backA := ff.take(time.Second)
	b, backB := ff.take(time.Second)
	c, backC := ff.take(2 * time.Second)

	if a != b || a == c || len(ff.m) != 2 {
		t.Errorf("got %d feeds, want one for each interval", len(ff.m))
	}
	backA()
	backB()
	backC()
	if len(ff.m) != 0 {
		t.Errorf("got %d feeds after all were given back", len(ff.m))
	}
}

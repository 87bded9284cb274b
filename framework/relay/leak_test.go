package relay

import (
	"io"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestNothingIsLeftBehind runs flows of every kind and every end, and counts
// goroutines and descriptors. It is not parallel, since it counts the process's.
func TestNothingIsLeftBehind(t *testing.T) {
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	t.Run("flows", func(t *testing.T) {
		r := newRelay(t, Config{})
		for _, ends := range kinds {
			for i := range 12 {
				f := start(t, r, ends, []byte("head"))
				go f.server.Write(make([]byte, 1<<20))
				io.ReadFull(f.client, make([]byte, 1<<20))
				switch i % 3 {
				case 0:
					f.pair.Kill()
				case 1:
					f.client.Close()
				case 2:
					f.server.Close()
				}
				f.client.Close()
				f.server.Close()
				f.ended(t)
			}
		}
	})

	end := time.Now().Add(wait)
	for runtime.NumGoroutine() > goroutines || openDescriptors() > descriptors {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before; %d descriptors, %d before", runtime.NumGoroutine(), goroutines, openDescriptors(), descriptors)
		}
		runtime.GC() // closes pipes that the pool lost
	}
}

// openDescriptors is 0 on systems that do not list them.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

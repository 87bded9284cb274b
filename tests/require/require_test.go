package require_test

import (
	"runtime"
	"testing"

	"github.com/culvert-proxy/culvert/tests/require"
)

// recorder is a testing.TB that notes how it was stopped.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.skipped = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

// run calls f with a recorder and waits for it.
func run(t *testing.T, f func(testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { // ends with f
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestMissingToolSkips(t *testing.T) {
	t.Setenv(require.Env, "")

	r := run(t, func(tb testing.TB) { require.Tool(tb, "no-such-program-culvert") })

	if !r.skipped || r.failed {
		t.Errorf("got skipped %v failed %v, want a skip", r.skipped, r.failed)
	}
}

func TestMissingToolFailsWhereAllIsRequired(t *testing.T) {
	t.Setenv(require.Env, "all")

	r := run(t, func(tb testing.TB) { require.Tool(tb, "no-such-program-culvert") })

	if r.skipped || !r.failed {
		t.Errorf("got skipped %v failed %v, want a failure", r.skipped, r.failed)
	}
}

func TestMetNeedGoesOn(t *testing.T) {
	t.Setenv(require.Env, "all")

	r := run(t, func(tb testing.TB) { require.That(tb, true, "nothing") })

	if r.skipped || r.failed {
		t.Errorf("got skipped %v failed %v, want neither", r.skipped, r.failed)
	}
}

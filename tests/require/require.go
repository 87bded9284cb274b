// Package require says what a test needs of the machine. Without it the test
// is skipped with the reason; where the environment variable CULVERT_REQUIRE
// is "all", as in CI, it fails, so that nothing is skipped unseen.
package require

import (
	"os"
	"os/exec"
	"testing"
)

// Env is the environment variable that turns skips into failures.
const Env = "CULVERT_REQUIRE"

// Tool returns the path of a program, or skips the test when it is not there.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "needs the program "+name)
	}
	return path
}

// Root skips the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root")
	}
}

// That skips the test unless ok; what says what is needed.
func That(t testing.TB, ok bool, what string) {
	t.Helper()
	if !ok {
		missing(t, "needs "+what)
	}
}

func missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(Env) == "all" {
		t.Fatalf("%s, and %s=all forbids to skip", reason, Env)
	}
	t.Skipf("%s; %s=all makes this a failure", reason, Env)
}

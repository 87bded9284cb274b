//go:build !linux

package kernel_test

import "testing"

func sockets(t *testing.T) map[string]string {
	t.Helper()
	t.Skip("inodes of sockets are read from /proc")
	return nil
}

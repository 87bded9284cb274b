package kernel_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/tests/require"
)

// sockets are the inodes of the listening TCP and the UDP sockets of 127.0.0.1,
// by network and port.
func sockets(t *testing.T) map[string]string {
	t.Helper()
	inodes := map[string]string{}
	for _, network := range []string{"tcp", "udp"} {
		table, err := os.ReadFile("/proc/self/net/" + network)
		if err != nil {
			require.That(t, false, err.Error())
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			var port int
			if len(f) < 10 || f[3] != "0A" && f[3] != "07" {
				continue
			}
			if _, err := fmt.Sscanf(f[1], "0100007F:%X", &port); err == nil {
				inodes[fmt.Sprintf("%s %d", network, port)] = f[9]
			}
		}
	}
	return inodes
}

// Package e2e runs the culvert binary between programs that we did not write:
// curl, dig and proxychains4 in front of it, danted, microsocks, squid and
// tinyproxy behind it. What it knows of culvert is what a user knows: the
// command line, the configuration, the ports and the API.
package e2e

import (
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

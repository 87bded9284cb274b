//go:build !linux

package process

import "github.com/culvert-proxy/culvert/framework"

// Finder finds owners. The zero Finder is ready.
type Finder struct{}

func (*Finder) find(Query) (framework.Process, error) {
	return framework.Process{UID: -1}, ErrUnsupported
}

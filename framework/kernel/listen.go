package kernel

import (
	"net"
	"time"
)

// listenConfig is how listening sockets are made under the settings in force.
func (k *Kernel) listenConfig() net.ListenConfig {
	var lc net.ListenConfig
	g := k.general.Load()
	if g == nil {
		return lc
	}
	lc.KeepAliveConfig = net.KeepAliveConfig{
		Enable:   !g.DisableKeepAlive,
		Idle:     time.Duration(g.KeepAliveIdle) * time.Second,
		Interval: time.Duration(g.KeepAliveInterval) * time.Second,
	}
	lc.SetMultipathTCP(g.InboundMPTCP)
	if g.InboundTFO {
		lc.Control = fastOpen
	}
	return lc
}

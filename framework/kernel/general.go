package kernel

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/dialer"
	"github.com/culvert-proxy/culvert/framework/dispatch"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// General is the settings that take effect without building anything, and the
// top-level ports. A PATCH changes them until the next document does.
type General struct {
	configs.Ports
	configs.General
}

// Patch changes settings: nil keeps the value. Mode and LogLevel are valid and
// in lower case.
type Patch struct {
	Port, SocksPort, MixedPort, RedirPort, TProxyPort *int
	Mode, LogLevel, FindProcessMode                   *string
	AllowLAN, IPv6, TCPConcurrent, UnifiedDelay       *bool
	BindAddress, InterfaceName                        *string
	SkipAuthPrefixes, LanAllowedIPs, LanDisallowedIPs *[]netip.Prefix
}

// Levels are the log levels by their spelling in files and the REST API.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn,
	"error": slog.LevelError, "silent": stats.LevelSilent,
}

// Patch puts changed settings in force. A port that cannot be bound is logged
// and shows as not open in the State.
func (k *Kernel) Patch(ctx context.Context, p Patch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return errClosed
	}
	old := k.state.Load()
	if old == nil {
		return errNothing
	}
	st := *old
	g := &st.General
	set(&g.Port, p.Port)
	set(&g.SocksPort, p.SocksPort)
	set(&g.MixedPort, p.MixedPort)
	set(&g.RedirPort, p.RedirPort)
	set(&g.TProxyPort, p.TProxyPort)
	set(&g.Mode, p.Mode)
	set(&g.LogLevel, p.LogLevel)
	set(&g.FindProcessMode, p.FindProcessMode)
	set(&g.AllowLAN, p.AllowLAN)
	set(&g.IPv6, p.IPv6)
	set(&g.TCPConcurrent, p.TCPConcurrent)
	set(&g.UnifiedDelay, p.UnifiedDelay)
	set(&g.BindAddress, p.BindAddress)
	set(&g.InterfaceName, p.InterfaceName)
	set(&g.SkipAuthPrefixes, p.SkipAuthPrefixes)
	set(&g.LanAllowedIPs, p.LanAllowedIPs)
	set(&g.LanDisallowedIPs, p.LanDisallowedIPs)
	k.enforce(g)
	st.ports = k.syncInbounds(ctx, g, st.plan.inbounds)
	k.state.Store(&st)
	return nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// enforce puts the settings in force that need nothing built.
func (k *Kernel) enforce(g *General) {
	k.general.Store(g)
	mode, _ := dispatch.ParseMode(g.Mode)
	k.dispatcher.SetMode(mode)
	k.tester.SetUnified(g.UnifiedDelay)
	k.Level.Set(levels[strings.ToLower(g.LogLevel)])
	k.admission.rules.Store(newAdmissionRules(g.Authentication, g.SkipAuthPrefixes, g.LanAllowedIPs, g.LanDisallowedIPs))
	k.dials.Store(dialer.Global{
		Interface:         g.InterfaceName,
		Mark:              g.RoutingMark,
		IPv6:              g.IPv6,
		Concurrent:        g.TCPConcurrent,
		KeepAliveIdle:     time.Duration(g.KeepAliveIdle) * time.Second,
		KeepAliveInterval: time.Duration(g.KeepAliveInterval) * time.Second,
		KeepAliveOff:      g.DisableKeepAlive,
	})
}

// BoundPort is the number of a top-level port, 0 when it is off or could not
// be bound.
func (s *State) BoundPort(inbound string) int {
	if !s.ports[inbound] {
		return 0
	}
	switch inbound {
	case "DEFAULT-HTTP":
		return s.General.Port
	case "DEFAULT-SOCKS":
		return s.General.SocksPort
	case "DEFAULT-MIXED":
		return s.General.MixedPort
	}
	return 0
}

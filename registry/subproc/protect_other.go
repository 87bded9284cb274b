//go:build !linux

package subproc

import (
	"os/exec"

	"github.com/culvert-proxy/culvert/configs"
)

// prepare has nothing to set on this system: the lifeline on stdin ends the
// process with the kernel.
func prepare(*exec.Cmd, configs.PluginLimits) (missing []string) {
	return []string{"process group", "parent-death signal", "no-new-privileges", "file sandbox (Landlock)", "peer check of sockets"}
}

// firstThread does not matter where a thread gives nothing up.
func firstThread() bool { return false }

// limit bounds nothing on this system.
func limit(_ int, l configs.PluginLimits) (missing []string) {
	if l != (configs.PluginLimits{}) {
		return []string{"limits"}
	}
	return nil
}

// killGroup has no group to end.
func killGroup(int) {}

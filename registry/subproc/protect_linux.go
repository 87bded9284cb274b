package subproc

import (
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/culvert-proxy/culvert/configs"
)

// prepare sets what a child has from its first instruction on: a process group
// of its own, death with the kernel, no new privileges. It is called on the
// thread that starts the child. It returns the protections that are missing.
func prepare(cmd *exec.Cmd, _ configs.PluginLimits) (missing []string) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		missing = append(missing, "no-new-privileges")
	}
	return append(missing, "file sandbox (Landlock)")
}

// firstThread says whether the caller runs on the process's first thread.
func firstThread() bool { return unix.Gettid() == unix.Getpid() }

// limit bounds what the process may use.
func limit(pid int, l configs.PluginLimits) (missing []string) {
	set := func(name string, resource int, n uint64) {
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
			missing = append(missing, fmt.Sprintf("limit of %s", name))
		}
	}
	set("core dumps", unix.RLIMIT_CORE, 0)
	if l.Memory > 0 {
		// Data, not address space: runtimes reserve far more than they use.
		set("memory", unix.RLIMIT_DATA, uint64(l.Memory)<<20)
	}
	if l.Files > 0 {
		set("files", unix.RLIMIT_NOFILE, uint64(l.Files))
	}
	if l.Processes > 0 {
		set("processes", unix.RLIMIT_NPROC, uint64(l.Processes))
	}
	return missing
}

// killGroup ends a process and all that it forked and left in its group.
func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }

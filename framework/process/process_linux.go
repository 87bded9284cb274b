package process

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Finder finds owners. The zero Finder is ready. It remembers for a moment
// which process has which socket, so that many flows at once cost one search,
// and which processes had the last ones: these are looked at first.
type Finder struct {
	mu      sync.Mutex     // guards all below; held for a search
	sockets map[uint32]int // the process of each, 0 for none that can be seen
	at      time.Time      // of the last whole search
	recent  []int          // processes, the last one first
}

const (
	// keep is how long a search stands; chosen: the sockets of a page load.
	keep = time.Second
	// maxRecent is chosen: the programs that use the network at one time.
	maxRecent = 8
)

func (f *Finder) find(q Query) (framework.Process, error) {
	s, err := lookup(q)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) {
			err = ErrNotFound
		}
		return framework.Process{UID: -1}, err
	}
	p := framework.Process{UID: int64(s.uid)}
	if pid := f.holder(s.inode); pid != 0 {
		p.Path = programOf(pid)
	}
	return p, nil
}

// holder is the process that has a socket open, 0 when none can be seen.
func (f *Finder) holder(inode uint32) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	link := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	if pid, seen := f.sockets[inode]; seen && time.Since(f.at) < keep && (pid == 0 || holds(pid, link)) {
		return pid
	}
	for _, pid := range f.recent {
		if holds(pid, link) {
			f.note(pid)
			return pid
		}
	}
	f.search()
	pid := f.sockets[inode]
	f.sockets[inode] = pid // also that there is none
	if pid != 0 {
		f.note(pid)
	}
	return pid
}

// note puts a process in front of the recent ones.
func (f *Finder) note(pid int) {
	f.recent = slices.DeleteFunc(f.recent, func(p int) bool { return p == pid })
	f.recent = slices.Insert(f.recent, 0, pid)
	f.recent = f.recent[:min(len(f.recent), maxRecent)]
}

// search notes the sockets of all processes that may be looked at.
func (f *Finder) search() {
	f.sockets, f.at = map[uint32]int{}, time.Now()
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		eachLink(pid, func(link string) bool {
			number, ok := strings.CutPrefix(link, "socket:[")
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); ok && err == nil {
				f.sockets[uint32(inode)] = pid
			}
			return true
		})
	}
}

func holds(pid int, want string) (found bool) {
	eachLink(pid, func(link string) bool {
		found = link == want
		return !found
	})
	return found
}

// eachLink calls f with what each open file of a process is, until f says
// false. A process of another user shows none.
func eachLink(pid int, f func(link string) bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if link, err := os.Readlink(dir + name); err == nil && !f(link) {
			return
		}
	}
}

// programOf is the file that a process runs, also when that was replaced.
func programOf(pid int) string {
	path, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

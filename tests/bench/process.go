package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// target is a relaying process under load.
type target struct {
	cmd      *exec.Cmd
	addr     string // its SOCKS5 port
	origin   *originProcess
	startMS  float64 // from exec to the first accepted connection
	startCPU float64 // ms of CPU by then
}

// startTarget starts culvert, or the bare relay when binary is "", and waits
// until it accepts. rules is how many rules come before the one that matches.
func startTarget(dir, binary string, origin *originProcess, rules int) (*target, error) {
	t := &target{addr: freeAddr(), origin: origin}
	ready := t.addr
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		t.cmd = exec.Command(self, "relay", t.addr)
	} else {
		ready = freeAddr()
		home := filepath.Join(dir, "home")
		if err := os.MkdirAll(home, 0o700); err != nil {
			return nil, err
		}
		file := filepath.Join(home, "config.yaml")
		if err := os.WriteFile(file, config(t.addr, ready, rules), 0o600); err != nil {
			return nil, err
		}
		t.cmd = exec.Command(binary, "-d", home, "-f", file)
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, "CULVERT_") {
				t.cmd.Env = append(t.cmd.Env, e)
			}
		}
	}
	begin := time.Now()
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitAccept(ready); err != nil {
		t.stop()
		return nil, err
	}
	t.startMS = float64(time.Since(begin).Microseconds()) / 1000
	t.startCPU = float64(t.cpu().Microseconds()) / 1000
	return t, nil
}

// config is a document with one mixed port and a controller.
func config(addr, controller string, rules int) []byte {
	_, port, _ := net.SplitHostPort(addr)
	b := fmt.Appendf(nil, "mixed-port: %s\nexternal-controller: %s\nrules:\n", port, controller)
	for i := range rules {
		switch i % 4 {
		case 0:
			b = fmt.Appendf(b, "  - DOMAIN-SUFFIX,site%d.test,REJECT\n", i)
		case 1:
			b = fmt.Appendf(b, "  - IP-CIDR,198.18.%d.0/24,REJECT,no-resolve\n", i%256)
		case 2:
			b = fmt.Appendf(b, "  - DOMAIN-KEYWORD,word%d,REJECT\n", i)
		case 3:
			b = fmt.Appendf(b, "  - DST-PORT,%d,REJECT\n", 1+i)
		}
	}
	return append(b, "  - MATCH,DIRECT\n"...)
}

func (t *target) stop() {
	t.cmd.Process.Signal(unix.SIGTERM)
	time.AfterFunc(6*time.Second, func() { t.cmd.Process.Kill() })
	t.cmd.Wait()
}

// cpu is the CPU time of the whole process, from the system's clock for it.
func (t *target) cpu() time.Duration {
	var ts unix.Timespec
	clock := int32(^t.cmd.Process.Pid)<<3 | 2 // CPUCLOCK_SCHED of the process, see clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func (t *target) rssKiB() (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", t.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); fields[0] == "VmRSS:" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}

func (t *target) rssMiB() (float64, error) {
	time.Sleep(500 * time.Millisecond)
	kib, err := t.rssKiB()
	return kib / 1024, err
}

func (t *target) fds() (float64, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", t.cmd.Process.Pid))
	return float64(len(list)), err
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

func waitAccept(addr string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// originProcess is the process that the relays lead to.
type originProcess struct {
	cmd  *exec.Cmd
	addr string // TCP: the first byte says what to do; UDP: sends back
}

func startServer() (*originProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &originProcess{addr: freeAddr()}
	s.cmd = exec.Command(self, "server", s.addr)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, waitAccept(s.addr)
}

func (s *originProcess) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

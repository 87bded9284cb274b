package outboundtest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// Program runs a server that somebody else wrote until the end of the test,
// and returns when it accepts connections. args makes its arguments for a
// port of 127.0.0.1. Where it is not installed the test is skipped.
func Program(t testing.TB, name string, args func(port string) []string) framework.Addr {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	at := freePort(t)
	_, port, _ := net.SplitHostPort(at.String())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	cmd := exec.CommandContext(ctx, path, args(port)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	endWithGroup(cmd)
	if err := cmd.Start(); err != nil {
		cancel()
		t.Skipf("start %s: %v", name, err)
	}
	ended := make(chan struct{})
	go func() { // ends with the program
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() { cancel(); <-ended })
	if !accepts(at, ended) {
		cancel()
		<-ended
		t.Fatalf("%s does not serve:\n%s", name, out.String())
	}
	return at
}

// freePort is a port that nobody listens at. It is below those that the system
// hands out, so that no other test gets it before the program does.
func freePort(t testing.TB) framework.Addr {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(10000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
		}
	}
	t.Fatal("no free port")
	return framework.Addr{}
}

// accepts waits until a server listens; false says that it ended or is late.
func accepts(at framework.Addr, ended <-chan struct{}) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(15 * time.Second)
	defer late.Stop()
	for {
		if c, err := net.Dial("tcp", at.String()); err == nil {
			c.Close()
			return true
		}
		select {
		case <-tick.C:
		case <-ended:
			return false
		case <-late.C:
			return false
		}
	}
}

// Command faulty is a plugin that misbehaves on request: FAULT in its
// environment says how at start, the port of a destination how in a dial. The
// supervisor's tests run it. Without a request it dials what it is told.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/serve"
	"github.com/culvert-proxy/culvert/framework/wire"
)

// The ports that mean something.
const (
	portExit   = 1 // the process exits
	portHang   = 2 // the process stops for ever
	portPanic  = 3 // a goroutine panics, which ends the process
	portFlood  = 4 // the log is flooded
	portFork   = 5 // a child is forked that never ends
	portSilent = 6 // the dial never ends
	portKeep   = 7 // a flow that never ends
)

type config struct {
	Word string `yaml:"word" enum:"old,new" doc:"what the version before took"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		time.Sleep(time.Hour)
	}
	d := framework.NewOutbound("faulty", func() config { return config{Word: "old"} }, build, framework.WithLabel("Faulty"), framework.WithCaps(framework.CapPacket))
	switch os.Getenv("FAULT") {
	case "schema":
		d.Schema = bytes.Repeat([]byte(" "), 64<<20)
	case "requires":
		d.Requires = append(d.Requires, "teleport")
	case "kind":
		d.Type = "no good\x1b[2J"
	case "picky":
		d = framework.NewOutbound("faulty", func() picky { return picky{} }, func(ctx context.Context, h framework.Host, _ picky) (framework.Outbound, error) {
			return build(ctx, h, config{})
		})
	case "garbage":
		garbage()
	case "slow":
		time.Sleep(time.Hour)
	}
	serve.Main(d)
}

// picky is a configuration that refuses what the others take.
type picky struct {
	Word string `yaml:"word" doc:"what this version does not like"`
}

// Validate refuses.
func (p picky) Validate() error {
	if p.Word != "new" {
		return &framework.FieldError{Path: "word", Msg: `this version wants "new"`}
	}
	return nil
}

// garbage answers flows with nonsense in the place of the real server.
func garbage() {
	ln, err := net.Listen("unix", os.Getenv(wire.EnvData))
	if err != nil {
		panic(err)
	}
	os.Setenv(wire.EnvData, os.Getenv(wire.EnvData)+"2")
	go func() { // ends with the process
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Write(bytes.Repeat([]byte{0xff}, 1<<20))
			c.Close()
		}
	}()
}

func build(_ context.Context, h framework.Host, _ config) (framework.Outbound, error) {
	return &outbound{h}, nil
}

type outbound struct{ host framework.Host }

// DialStream dials, or does what the port asks for.
func (o *outbound) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	switch to.Port {
	case portExit:
		os.Exit(7)
	case portHang:
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case portPanic:
		go panic("faulty on request")
		time.Sleep(time.Minute)
	case portFlood:
		go flood()
	case portFork:
		cmd := exec.Command("/proc/self/exe", "child")
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("child %d", cmd.Process.Pid)
	case portSilent:
		select {}
	case portKeep:
		a, b := net.Pipe()
		go func() { b.Read(make([]byte, 1)); select {} }() // ends with the process
		return a, nil
	}
	c, err := o.host.Dialer().DialStream(ctx, to)
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		switch os.Getenv("FAULT") {
		case "splice":
			return spliced{tcp}, nil
		case "copy":
			return copied{c, tcp}, nil
		}
	}
	return c, err
}

// spliced is a socket that is not handed back, and copied is one whose bytes
// pass through this process, as a cipher's do. They are for measuring.
type (
	spliced struct{ *net.TCPConn }
	copied  struct {
		net.Conn
		tcp *net.TCPConn
	}
)

// CloseWrite ends the sending half.
func (c copied) CloseWrite() error { return c.tcp.CloseWrite() }

func flood() {
	line := strings.Repeat("all work and no play ", 100)
	for {
		fmt.Fprintln(os.Stderr, line)
		os.Stdout.WriteString(line + "\n")
	}
}

// DialPacket dials.
func (o *outbound) DialPacket(ctx context.Context, to framework.Addr) (framework.PacketConn, error) {
	return o.host.Dialer().DialPacket(ctx, to)
}

// Close does nothing.
func (*outbound) Close() error { return nil }

// Command culvert is a proxy kernel made of plugins. This file is where its
// parts meet: flags, signals, and one call to each part.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/culvert-proxy/culvert/api/control"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/framework/store"
	"github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/registry/subproc"
)

// version is what the build says with -ldflags "-X main.version=v1.2.3".
var version = "v0.1.0"

// drainOnStop is how long open flows may go on after SIGTERM; chosen: shorter
// than the 10 s that service managers wait before they kill.
const drainOnStop = 5 * time.Second

func main() {
	err := run(os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	catalog, err := registry.New(plugins.All()...)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		if command := control.Commands(catalog)[args[0]]; command != nil {
			return command(args[1:], os.Stdout)
		}
	}
	fs := flag.NewFlagSet("culvert", flag.ContinueOnError)
	test := fs.Bool("t", false, "test the configuration and exit")
	strict := fs.Bool("strict", false, "with -t: warnings are errors")
	show := fs.Bool("v", false, "print the version and exit")
	input := configs.DefineFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *show {
		fmt.Println("Culvert", version, runtime.GOOS, runtime.GOARCH, "with", runtime.Version())
		return nil
	}
	in, err := input(os.Environ(), os.Stdin)
	if err != nil {
		return err
	}
	if *test {
		processes := subproc.New(subproc.Config{Home: in.Home, Log: slog.New(slog.DiscardHandler), Version: version})
		defer processes.Close()
		catalog.UseLauncher(processes)
		return control.Test(in, catalog, *strict, os.Stdout)
	}
	return serve(in, catalog)
}

// serve runs until SIGINT or SIGTERM.
func serve(in configs.Input, catalog *registry.Registry) error {
	level := new(slog.LevelVar)
	logs := stats.NewLogStream(control.Console(os.Stderr), level)
	log := slog.New(logs)
	if err := configs.Prepare(in); err != nil {
		return err
	}
	processes := subproc.New(subproc.Config{Home: in.Home, Log: log, Version: version})
	defer processes.Close()
	catalog.UseLauncher(processes)
	doc, err := configs.Load(in)
	if err != nil {
		return control.Problems(in, catalog).Err()
	}
	kept := store.OpenIn(in.Home, log)
	defer kept.Close()
	k := kernel.New(kernel.Config{Home: in.Home, Catalog: catalog, Stats: stats.New(), Log: log, Level: level, Store: kept, Plugins: catalog})
	c := control.New(control.Config{Kernel: k, Plugins: catalog, Logs: logs, Log: log, Input: in, Version: version})
	if err := k.Apply(context.Background(), doc, kernel.Options{}); err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	c.Serve(context.Background(), doc)
	c.Greet(os.Stderr)
	debug.FreeOSMemory() // what start-up left is most of the heap of an idle kernel

	for s := range signals {
		if s != syscall.SIGHUP {
			break
		}
		c.Hangup(context.Background())
	}
	log.Info("stopping", "flows", k.Stats.OpenFlows())
	c.Close()
	signal.Reset(os.Interrupt, syscall.SIGTERM) // a second one ends the process at once
	signal.Ignore(syscall.SIGHUP)
	ctx, cancel := context.WithTimeout(context.Background(), drainOnStop)
	defer cancel()
	k.Close(ctx)
	return nil
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/registry/subproc"
)

// pluginRun opens one outbound on a proxy port until it is interrupted. What
// runs is an ordinary kernel with a configuration of one outbound, one listener
// and one rule.
func pluginRun(catalog *registry.Registry, args []string, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return runPlugin(ctx, catalog, args, out, Console(os.Stderr))
}

// runPlugin is pluginRun until ctx ends, with its log to console.
func runPlugin(ctx context.Context, catalog *registry.Registry, args []string, out io.Writer, console slog.Handler) error {
	fs := flag.NewFlagSet("culvert plugin run BINARY|TYPE SAMPLE", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:1080", "`ip:port` of the SOCKS and HTTP proxy")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return errors.New("usage: culvert plugin run BINARY|TYPE SAMPLE [-listen ip:port]")
	}
	at, err := netip.ParseAddrPort(*listen)
	if err != nil {
		return fmt.Errorf("-listen %q: want ip:port", *listen)
	}
	s, err := readSample(rest[1])
	if err != nil {
		return err
	}
	p := &play{what: rest[0], sample: s, listen: at, level: new(slog.LevelVar)}
	p.log = slog.New(stats.NewLogStream(console, p.level))
	return p.run(ctx, catalog, out)
}

// play is one run.
type play struct {
	what   string // an executable or a type
	sample *sample
	listen netip.AddrPort
	log    *slog.Logger
	level  *slog.LevelVar
}

func (p *play) run(ctx context.Context, catalog *registry.Registry, out io.Writer) error {
	home, err := os.MkdirTemp("", "culvert-run")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	types, plugins := catalog.List(), []configs.Plugin(nil)
	if _, linked := catalog.Lookup(framework.KindOutbound, p.what); !linked {
		spec, err := locate(p.what)
		if err != nil {
			return fmt.Errorf("%s is no outbound type that is linked in, and no executable: %w", p.what, err)
		}
		plugins = append(plugins, spec)
		processes := subproc.New(subproc.Config{Home: filepath.Dir(spec.File), Log: p.log, Version: release()})
		defer processes.Close()
		catalog.UseLauncher(processes)
		defer catalog.Close()
		if err := errors.Join(catalog.Apply(ctx, plugins)...); err != nil {
			return err
		}
		types = catalog.List()
	}
	entry, d, err := p.choose(types, len(plugins) > 0)
	if err != nil {
		return err
	}
	text, err := p.document(entry)
	if err != nil {
		return err
	}
	doc, err := configs.Load(configs.Input{Home: home, Bytes: text, Name: p.sample.path})
	if err != nil {
		return err
	}
	k := kernel.New(kernel.Config{Home: home, Catalog: catalog, Stats: stats.New(), Log: p.log, Level: p.level})
	defer k.Close(context.Background())
	if err := k.Apply(ctx, doc, kernel.Options{}); err != nil {
		return err
	}
	fmt.Fprintf(out, "SOCKS and HTTP proxy at %s, by outbound %s; try: curl -x socks5h://%s http://example.com\n", p.listen, d.Type, p.listen)
	<-ctx.Done()
	return nil
}

// choose finds the entry to run, and checks it at its lines.
func (p *play) choose(types []registry.Entry, process bool) (conf.Node, framework.Descriptor, error) {
	for _, e := range types {
		if e.Kind != framework.KindOutbound || process == (e.Origin == registry.InTree) || !process && e.Type != p.what {
			continue
		}
		if n, ok := p.sample.entry(e.Descriptor); ok {
			return n, e.Descriptor, e.Check(n.Source(conf.Loose, configs.ProxyKeys()...))
		}
	}
	return conf.Node{}, framework.Descriptor{}, fmt.Errorf("%s has no entry of proxies for an outbound of %s", p.sample.path, p.what)
}

// document is the configuration that the kernel runs.
func (p *play) document(entry conf.Node) ([]byte, error) {
	proxy, err := entry.JSON()
	if err != nil {
		return nil, err
	}
	name, ok := entry.Get("name").Text()
	if !ok {
		return nil, fmt.Errorf("%v", entry.Errorf("an outbound needs a name"))
	}
	return json.Marshal(map[string]any{
		"log-level": "debug",
		"listeners": []any{map[string]any{"name": "play", "type": "mixed", "listen": p.listen.Addr().String(), "port": p.listen.Port()}},
		"proxies":   []any{json.RawMessage(proxy)},
		"rules":     []any{"MATCH," + name},
	})
}

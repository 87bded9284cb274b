package control

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/culvert-proxy/culvert/api/top"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/registry"
)

// Commands are what stands behind the first argument: `culvert schema`.
func Commands(catalog *registry.Registry) map[string]func(args []string, out io.Writer) error {
	return map[string]func([]string, io.Writer) error{
		"schema":          func(_ []string, out io.Writer) error { return schema(catalog, out) },
		"top":             watch,
		"explain":         explainCommand,
		"convert-ruleset": convert,
		"test":            func(args []string, out io.Writer) error { return testCommand(catalog, args, out) },
		"plugin":          func(args []string, out io.Writer) error { return plugin(catalog, args, out) },
	}
}

// schema prints the JSON Schema of a whole document.
func schema(catalog *registry.Registry, out io.Writer) error {
	types := map[framework.Kind]map[string][]byte{}
	for _, e := range catalog.List() {
		if types[e.Kind] == nil {
			types[e.Kind] = map[string][]byte{}
		}
		types[e.Kind][e.Type] = typeSchema(e.Descriptor)
	}
	_, err := fmt.Fprintf(out, "%s\n", configs.Schema(types))
	return err
}

func typeSchema(d framework.Descriptor) []byte {
	if len(d.Schema) > 0 {
		return d.Schema
	}
	return conf.Schema(d.Defaults())
}

// watch is `culvert top`.
func watch(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("culvert top", flag.ContinueOnError)
	url := fs.String("url", "http://127.0.0.1:9090", "`address` of the controller")
	secret := fs.String("secret", os.Getenv("CULVERT_SECRET"), "secret of the controller")
	once := fs.Bool("once", false, "print one frame and exit")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return top.Run(ctx, top.Options{URL: *url, Secret: framework.Secret(*secret), Out: out, In: os.Stdin, Once: *once})
}

// Test is -t: it prints all problems and the verdict, and fails when there is
// an error, or with strict a warning.
func Test(in configs.Input, catalog kernel.Catalog, strict bool, out io.Writer) error {
	name := in.Name
	if in.Bytes == nil {
		name = in.File
	}
	found := Problems(in, catalog)
	for _, p := range found {
		fmt.Fprintln(out, p)
	}
	if len(found.Errors()) > 0 || strict && len(found) > 0 {
		return fmt.Errorf("configuration file %s test failed", name)
	}
	fmt.Fprintf(out, "configuration file %s test is successful\n", name)
	return nil
}

// Problems is all that is to be said of a configuration. It opens nothing.
func Problems(in configs.Input, catalog kernel.Catalog) conf.Problems {
	doc, err := configs.Load(in)
	processes, _ := catalog.(kernel.Plugins)
	k := kernel.New(kernel.Config{Home: in.Home, Catalog: catalog, Stats: stats.New(),
		Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar), Plugins: processes})
	defer k.Close(context.Background())
	return problems(k, doc, err)
}

// problems adds what the kernel finds to what Load found, so that all mistakes
// are shown at once. When a whole section cannot be read, what would name its
// entries is not looked at.
func problems(k *kernel.Kernel, doc *configs.Document, err error) conf.Problems {
	var found conf.Problems
	if err != nil && !errors.As(err, &found) {
		return conf.Problems{{Msg: err.Error()}}
	}
	if doc == nil {
		return found
	}
	if slices.ContainsFunc(found, func(p conf.Problem) bool { return slices.Contains(sections, p.Path) }) {
		found = append(found, doc.Warnings...)
	} else {
		found = append(found, k.Check(doc)...)
	}
	found.Sort()
	return slices.Compact(found)
}

// sections hold entries that others name.
var sections = []string{"proxies", "proxy-groups", "sub-rules"}

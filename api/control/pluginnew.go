package control

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance/scaffold"
	"github.com/culvert-proxy/culvert/registry"
)

// pluginUsage is what `culvert plugin` can do.
const pluginUsage = `usage:
  culvert plugin list                        the types that are linked in
  culvert plugin schema TYPE                 the keys of a type as JSON Schema
  culvert plugin new KIND NAME [DIR]         write the module of a plugin that works
  culvert plugin check BINARY SAMPLE         hold a plugin against the contract
  culvert plugin run BINARY|TYPE SAMPLE      open one outbound of SAMPLE on a local proxy port
KIND is outbound, rule or fetcher; -h after a command shows its flags`

// plugin is `culvert plugin`.
func plugin(catalog *registry.Registry, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(pluginUsage)
	}
	switch command, args := args[0], args[1:]; command {
	case "list":
		return pluginList(catalog, out)
	case "schema":
		return pluginSchema(catalog, args, out)
	case "new":
		return pluginNew(args, out)
	case "check":
		return pluginCheck(args, out)
	case "run":
		return pluginRun(catalog, args, out)
	}
	return errors.New(pluginUsage)
}

func pluginList(catalog *registry.Registry, out io.Writer) error {
	for _, e := range catalog.List() {
		fmt.Fprintf(out, "%-9s %-16s %-12s %-8s %s\n", e.Kind, e.Type, e.Stability, e.Origin, e.Summary)
	}
	return nil
}

// pluginSchema prints the schema of the types of a name.
func pluginSchema(catalog *registry.Registry, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: culvert plugin schema TYPE")
	}
	found := false
	for _, e := range catalog.List() {
		if e.Type == args[0] {
			found = true
			fmt.Fprintf(out, "%s\n", typeSchema(e.Descriptor))
		}
	}
	if !found {
		return fmt.Errorf("no plugin type %q; culvert plugin list shows them", args[0])
	}
	return nil
}

// pluginNew writes the module of a plugin.
func pluginNew(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("culvert plugin new KIND NAME [DIR]", flag.ContinueOnError)
	module := fs.String("module", "", "import `path` of the module (example.com/NAME)")
	source := fs.String("source", "", "build against the checkout of Culvert in this `folder`, not the published module")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) < 2 || len(rest) > 3 {
		return errors.New("usage: culvert plugin new outbound|rule|fetcher NAME [DIR]")
	}
	dir := rest[1]
	if len(rest) == 3 {
		dir = rest[2]
	}
	paths, err := scaffold.Write(scaffold.Plugin{Kind: framework.Kind(rest[0]), Name: rest[1], Dir: dir,
		Module: *module, Source: *source, Version: release()})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\nnext: cd %s && make test && make check\n", strings.Join(paths, "\n"), dir)
	return nil
}

// release is the version of Culvert's module that a plugin can require: the
// one that this program was built from, when it was built from a release.
func release() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" && !strings.Contains(info.Main.Version, "+") {
		return info.Main.Version
	}
	return ""
}

// parse reads flags that may stand anywhere among the arguments.
func parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

// Command docs prints all plugin types as Markdown, from what their folders
// hold: package comment, descriptors with the doc tags of their keys, and
// sample.yaml. It runs in the root of the repository; `make docs` calls it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/plugins"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	err := render(out, ".")
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// folder is the source of one or more types.
type folder struct {
	path    string
	comment string // of the package
	source  []byte // of its files, tests left out
	sample  []byte
	types   []framework.Descriptor
}

// render writes the page of the repository at root.
func render(out io.Writer, root string) error {
	all := plugins.All()
	fmt.Fprintln(out, "# Plugin types\n\nMade by `make docs` from the folders of `plugins`.")
	for _, kind := range []framework.Kind{framework.KindOutbound, framework.KindInbound, framework.KindGroup, framework.KindRule, framework.KindFetcher, framework.KindTransport} {
		folders, err := read(filepath.Join(root, "plugins", string(kind)))
		if err != nil {
			return err
		}
		if err := assign(folders, all, kind); err != nil {
			return err
		}
		if len(folders) > 0 {
			fmt.Fprintf(out, "\n## %s plugins\n", kind)
		}
		for _, f := range folders {
			if err := f.render(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// read reads the folders of one kind; none is no error.
func read(dir string) ([]*folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var list []*folder
	for _, e := range entries {
		f := &folder{path: filepath.Join(dir, e.Name())}
		if err := f.read(); err != nil {
			return nil, err
		}
		if f.source != nil {
			list = append(list, f)
		}
	}
	return list, nil
}

func (f *folder) read() error {
	files, err := filepath.Glob(filepath.Join(f.path, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f.source = append(f.source, text...)
		if parsed.Doc != nil {
			f.comment = parsed.Doc.Text()
		}
	}
	f.sample, err = os.ReadFile(filepath.Join(f.path, "sample.yaml"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// assign gives each type to the folder whose source spells its name.
func assign(folders []*folder, all []framework.Descriptor, kind framework.Kind) error {
	for _, d := range all {
		if d.Kind != kind {
			continue
		}
		i := slices.IndexFunc(folders, func(f *folder) bool { return bytes.Contains(f.source, []byte(`"`+d.Type+`"`)) })
		if i < 0 {
			return fmt.Errorf("no folder under plugins/%s spells %q: %w", kind, d.Type, fs.ErrNotExist)
		}
		folders[i].types = append(folders[i].types, d)
	}
	return nil
}

func (f *folder) render(out io.Writer) error {
	var names []string
	for _, d := range f.types {
		names = append(names, d.Type)
	}
	if len(names) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n### %s\n\n%s\n", strings.Join(names, ", "), strings.TrimSpace(f.comment))
	for _, d := range f.types {
		if err := describe(out, d); err != nil {
			return err
		}
	}
	if len(f.sample) > 0 {
		fmt.Fprintf(out, "\n```yaml\n%s```\n", f.sample)
	}
	return nil
}

func describe(out io.Writer, d framework.Descriptor) error {
	fmt.Fprintf(out, "\n- **%s**: %s; %s, shown as `%s`", d.Type, d.Summary, d.Stability, d.Label)
	if len(d.Aliases) > 0 {
		fmt.Fprintf(out, ", also written `%s`", strings.Join(d.Aliases, "`, `"))
	}
	fmt.Fprintln(out)
	if d.Kind == framework.KindRule {
		return nil
	}
	text := d.Schema
	if len(text) == 0 {
		text = conf.Schema(d.Defaults())
	}
	var p property
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("schema of %s %q: %w", d.Kind, d.Type, err)
	}
	if len(p.Properties) > 0 {
		fmt.Fprintf(out, "\n| key | value | default | meaning |\n|---|---|---|---|\n")
		p.rows("", out)
	}
	return nil
}

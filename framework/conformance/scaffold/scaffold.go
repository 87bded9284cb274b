// Package scaffold writes the module of a plugin that works: seven short files
// for an author to change. The templates beside it are plain text in which
// words in capitals stand for the names; the test builds what they give and
// runs the kit on it, so they cannot rot.
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

//go:embed templates
var templates embed.FS

// Plugin says what to write.
type Plugin struct {
	Kind    framework.Kind // outbound, rule or fetcher
	Name    string         // of the type: "acme", "acme-2"
	Dir     string         // where to; it is made, and must not hold the files yet
	Module  string         // the import path; "" is example.com/NAME
	Version string         // of Culvert to require; "" is v0.1.0
	Source  string         // a checkout of Culvert to build against; "" takes the published module
}

var names = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Write writes the files and returns their paths, in the order to read them.
// An existing file is an error, and then none is written.
func Write(p Plugin) ([]string, error) {
	switch p.Kind {
	case framework.KindOutbound, framework.KindRule, framework.KindFetcher:
	default:
		return nil, fmt.Errorf("kind %q: a plugin can be an outbound, a rule or a fetcher", p.Kind)
	}
	if !names.MatchString(p.Name) || len(p.Name) > 40 {
		return nil, fmt.Errorf("name %q: want lower-case letters and digits, with - between, as in acme-2", p.Name)
	}
	if token.IsKeyword(p.pkg()) || p.Name == "main" || p.Name == "framework" {
		return nil, fmt.Errorf("name %q: Go has its own use for the word", p.Name)
	}
	files, err := p.files()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range files {
		at := filepath.Join(p.Dir, filepath.FromSlash(f.path))
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already", at)
		}
		paths = append(paths, at)
	}
	for i, f := range files {
		if err := os.MkdirAll(filepath.Dir(paths[i]), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(paths[i], []byte(f.text), 0o644); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// pkg is the name of the Go package.
func (p Plugin) pkg() string { return strings.ReplaceAll(p.Name, "-", "") }

type file struct{ path, text string }

func (p Plugin) files() ([]file, error) {
	pkg := p.pkg()
	list := []file{
		{pkg + ".go", path.Join(string(p.Kind), "plugin.go.txt")},
		{pkg + "_test.go", path.Join(string(p.Kind), "plugin_test.go.txt")},
		{"sample.yaml", path.Join(string(p.Kind), "sample.yaml.txt")},
		{path.Join("cmd", p.Name, "main.go"), "common/main.go.txt"},
		{"README.md", "common/README.md.txt"},
		{"Makefile", "common/Makefile.txt"},
		{"go.mod", "common/go.mod.txt"},
	}
	if p.Module == "" {
		p.Module = "example.com/" + p.Name
	}
	if p.Version == "" {
		p.Version = "v0.1.0"
	}
	fill := strings.NewReplacer("PACKAGE", pkg, "KEYWORD", strings.ToUpper(p.Name), "LABEL", label(p.Name),
		"NAME", p.Name, "MODULE", p.Module, "VERSION", p.Version)
	for i, f := range list {
		text, err := templates.ReadFile("templates/" + f.text)
		if err != nil {
			return nil, err
		}
		list[i].text = fill.Replace(string(text))
	}
	if p.Source != "" {
		source, err := filepath.Abs(p.Source)
		if err != nil {
			return nil, err
		}
		list[len(list)-1].text += fmt.Sprintf("\nreplace github.com/culvert-proxy/culvert => %q\n", source)
	}
	return list, nil
}

// label is how the REST API spells a name: AcmeTwo for acme-two.
func label(name string) string {
	var b strings.Builder
	for _, word := range strings.Split(name, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

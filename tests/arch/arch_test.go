// Package arch holds the house to its own rules: who may import whom, which
// modules each binary links, and a few habits that a compiler does not ask for.
package arch

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the list of modules")

const (
	root   = "../.."
	module = "github.com/culvert-proxy/culvert"
)

// line is one line of layers.txt.
type line struct {
	number int
	text   string
	layer  int
	name   string // pattern of path.Match, relative to the module
	also   []string
}

func layers(t *testing.T) []line {
	t.Helper()
	data, err := os.ReadFile("layers.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for i, text := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(text, "#") || strings.TrimSpace(text) == "" {
			continue
		}
		fields := strings.Fields(text)
		layer, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) < 2 {
			t.Fatalf("layers.txt:%d: want a layer and a package: %q", i+1, text)
		}
		l := line{number: i + 1, text: text, layer: layer, name: fields[1]}
		if len(fields) > 3 && fields[2] == "also:" {
			l.also = fields[3:]
		}
		lines = append(lines, l)
	}
	return lines
}

// of finds the line of a package; the first that fits counts.
func of(lines []line, pkg string) *line {
	for i := range lines {
		if ok, _ := path.Match(lines[i].name, pkg); ok {
			return &lines[i]
		}
	}
	return nil
}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// short is a package's path in the module; "." is the module's own.
func short(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsFollowTheLayers(t *testing.T) {
	t.Parallel()
	lines := layers(t)
	for _, p := range list(t, "./...") {
		from, _ := short(p.ImportPath)
		at := of(lines, from)
		if at == nil {
			t.Errorf("%s has no line in tests/arch/layers.txt: give it one, with its layer", from)
			continue
		}
		for _, imported := range p.Imports {
			if problem := forbidden(lines, at, imported); problem != "" {
				t.Errorf("%s imports %s: %s\n\tlayers.txt:%d: %s", from, imported, problem, at.number, at.text)
			}
		}
	}
}

// forbidden says why the package at may not import a path, "" when it may.
func forbidden(lines []line, at *line, imported string) string {
	for _, allowed := range at.also {
		if imported == allowed || strings.HasPrefix(imported, allowed+"/") || imported == module+"/"+allowed {
			return ""
		}
	}
	if to, ours := short(imported); ours {
		target := of(lines, to)
		switch {
		case target == nil || target.layer < at.layer || at.layer == 6:
			return ""
		case target.layer == at.layer:
			return fmt.Sprintf("both are in layer %d; move what both need to a lower package, or name it after also:", at.layer)
		}
		return fmt.Sprintf("it is in layer %d, above layer %d; move the code up to %s, or what it needs down", target.layer, at.layer, to)
	}
	if at.layer == 6 {
		return ""
	}
	for i := range lines {
		for _, door := range lines[i].also {
			if imported == door || strings.HasPrefix(imported, door+"/") {
				if others := doors(lines, door); !slices.Contains(others, at.name) {
					return "only " + strings.Join(others, ", ") + " may import it; move the code there"
				}
			}
		}
	}
	if at.layer == 0 && strings.Contains(strings.Split(imported, "/")[0], ".") {
		return "the contract uses the standard library only"
	}
	return ""
}

func doors(lines []line, mod string) (names []string) {
	for i := range lines {
		if slices.Contains(lines[i].also, mod) {
			names = append(names, lines[i].name)
		}
	}
	return names
}

// TestBinariesLinkTheListedModules keeps the list of third-party modules in
// view: a new one shows in the diff of the commit that brings it.
func TestBinariesLinkTheListedModules(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", ".")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	mods := strings.Fields(strings.ReplaceAll(string(out), " ", "@"))
	slices.Sort(mods)
	got := "# culvert\n" + strings.Join(slices.Compact(mods), "\n") + "\n"

	if *update {
		if err := os.WriteFile("deps.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := os.ReadFile("deps.txt")
	if got != string(want) {
		t.Errorf("the modules that are linked differ from tests/arch/deps.txt; when that is meant, run go test ./tests/arch -update and say in the commit what the new one saves\ngot:\n%swant:\n%s", got, want)
	}
}

// sources calls f with each Go file of ours that is no generated one.
func sources(t *testing.T, f func(name string, src []byte, file *ast.File, fset *token.FileSet)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".pb.go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		f(name, src, file, fset)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreFormatted(t *testing.T) {
	t.Parallel()
	sources(t, func(name string, src []byte, _ *ast.File, _ *token.FileSet) {
		if out, err := format.Source(src); err != nil || !bytes.Equal(out, src) {
			t.Errorf("%s: gofmt would change it", name)
		}
	})
}

func TestEachPackageHasOneComment(t *testing.T) {
	t.Parallel()
	where := map[string][]string{}
	sources(t, func(name string, _ []byte, file *ast.File, _ *token.FileSet) {
		dir := filepath.Dir(name)
		if ok, _ := build.Default.MatchFile(dir, filepath.Base(name)); !ok {
			return
		}
		key := dir + " package " + strings.TrimSuffix(file.Name.Name, "_test")
		if _, seen := where[key]; !seen {
			where[key] = nil
		}
		if file.Doc != nil {
			where[key] = append(where[key], filepath.Base(name))
		}
	})
	for key, files := range where {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, want one: %v", key, len(files), files)
		}
	}
}

// TestNoHiddenState refuses init functions and exported variables that are no
// errors or tables: both hide order and state.
func TestNoHiddenState(t *testing.T) {
	t.Parallel()
	sources(t, func(name string, _ []byte, file *ast.File, fset *token.FileSet) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: func init: put it into the function that needs it", fset.Position(d.Pos()))
				}
			case *ast.GenDecl:
				checkVars(t, fset, d)
			}
		}
	})
}

func checkVars(t *testing.T, fset *token.FileSet, d *ast.GenDecl) {
	t.Helper()
	if d.Tok != token.VAR {
		return
	}
	for _, spec := range d.Specs {
		for _, id := range spec.(*ast.ValueSpec).Names {
			if id.IsExported() && !strings.HasPrefix(id.Name, "Err") && id.Name != "DialBuckets" {
				t.Errorf("%s: exported variable %s: state lives in a struct that somebody makes", fset.Position(id.Pos()), id.Name)
			}
		}
	}
}

package configs

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework/conf"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file, or rewrites it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got:\n%s\nwant:\n%s", path, got, want)
	}
}

// all is the problems of a document: those of Load, of the common keys of its
// entries and of its rule lines.
func all(in Input) conf.Problems {
	d, err := Load(in)
	var p conf.Problems
	errors.As(err, &p)
	if d == nil {
		return p
	}
	p = append(p, d.Warnings...)
	for _, n := range d.Proxies {
		_, more := DecodeProxy(n)
		p = append(p, more...)
	}
	for _, n := range d.ProxyGroups {
		_, more := DecodeGroup(n)
		p = append(p, more...)
	}
	for _, n := range d.Listeners {
		_, more := DecodeListener(n)
		p = append(p, more...)
	}
	for _, n := range d.Rules {
		_, more := ParseRule(n)
		p = append(p, more...)
	}
	p.Sort()
	return p
}

func TestExamplesLoadWithTheseWarnings(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/examples/*.yaml")
	if len(files) != 9 {
		t.Fatalf("%d examples, want 9", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			p := all(Input{Home: t.TempDir(), File: file})
			if e := p.Errors(); len(e) > 0 {
				t.Errorf("does not load:\n%v", e)
			}
			text := p.Error()
			if text != "" {
				text += "\n"
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".warnings", text)
		})
	}
}

func TestQuickstartHasNoProblem(t *testing.T) {
	t.Parallel()
	if p := all(Input{Home: t.TempDir(), File: "quickstart.yaml"}); len(p) > 0 {
		t.Error(p)
	}
}

// TestProblems runs the files of testdata/problems: a document, a line of
// dashes, and the problems that it has.
func TestProblems(t *testing.T) {
	t.Parallel()
	const cut = "\n--------\n"
	files, _ := filepath.Glob("testdata/problems/*.txt")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc, _, _ := strings.Cut(string(text), cut)
			p := all(Input{Home: t.TempDir(), Bytes: []byte(doc + "\n"), Name: "config.yaml"})
			golden(t, file, doc+cut+p.Error()+"\n")
		})
	}
}

// Package cases_test holds whole documents against the whole check: those that
// load, those that do not and why, and what a running kernel makes of each.
package cases_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/culvert-proxy/culvert/api/control"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/plugins"
	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/tests/harness"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { harness.Main(m) }

// catalog is all plugins.
func catalog(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.New(plugins.All()...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// problems runs the check that -t runs.
func problems(t *testing.T, in configs.Input) conf.Problems {
	t.Helper()
	in.Home = t.TempDir()
	return control.Problems(in, catalog(t))
}

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

// testRun runs culvert -t on a file, or on text when file is "-".
func testRun(t *testing.T, file, text string, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), append([]string{"-t", "-d", t.TempDir(), "-f", file}, args...)...)
	cmd.Env = harness.Environ()
	cmd.Stdin = bytes.NewReader([]byte(text))
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, io.Discard
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), cmd.ProcessState.ExitCode()
}

// files are those that match, none being a mistake.
func files(t *testing.T, pattern string, atLeast int) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) < atLeast {
		t.Fatalf("%s: %d files, want %d (%v)", pattern, len(list), atLeast, err)
	}
	return list
}

// lines is one problem on each line.
func lines(p conf.Problems) string {
	var b bytes.Buffer
	for _, one := range p {
		fmt.Fprintln(&b, one)
	}
	return b.String()
}

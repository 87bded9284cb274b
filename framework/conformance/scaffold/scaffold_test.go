package scaffold

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

const root = "../../.."

// offline is the environment for a go command that needs nothing but this
// checkout and the modules that it was built from.
func offline() []string {
	return append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GONOSUMDB=*", "GONOSUMCHECK=1", "GOSUMDB=off", "GOWORK=off", "CGO_ENABLED=0")
}

func write(t *testing.T, kind framework.Kind, name string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	paths, err := Write(Plugin{Kind: kind, Name: name, Dir: dir, Source: root})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 7 {
		t.Errorf("got %d files, want 7: %v", len(paths), paths)
	}
	return dir
}

// TestWhatIsWrittenBuildsAndPasses runs what the README tells an author to.
func TestWhatIsWrittenBuildsAndPasses(t *testing.T) {
	kinds := map[framework.Kind]string{framework.KindOutbound: "acme"}
	if !testing.Short() { // each is a build of its own
		kinds[framework.KindRule], kinds[framework.KindFetcher] = "long-label", "shelf-2"
	}
	for kind, name := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			dir := write(t, kind, name)
			for _, args := range [][]string{{"build", "-o", "bin/" + name, "./cmd/" + name}, {"test", "-short", "./..."}} {
				cmd := exec.CommandContext(t.Context(), "go", args...)
				cmd.Dir, cmd.Env = dir, offline()
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
			out, err := exec.CommandContext(t.Context(), "gofmt", "-l", dir).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("gofmt would change %s, %v", out, err)
			}
			alone, err := exec.CommandContext(t.Context(), filepath.Join(dir, "bin", name)).CombinedOutput()
			if err == nil || !strings.Contains(string(alone), "this is a plugin for Culvert") {
				t.Errorf("started by hand: got %q, %v", alone, err)
			}
		})
	}
}

func TestPlaceholdersAreFilled(t *testing.T) {
	t.Parallel()
	for _, kind := range []framework.Kind{framework.KindOutbound, framework.KindRule, framework.KindFetcher} {
		dir := write(t, kind, "acme-two")
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			for _, word := range []string{"NAME", "PACKAGE", "KEYWORD", "MODULE", "LABEL", "VERSION"} {
				if strings.Contains(string(text), word) {
					t.Errorf("%s still holds %s", path, word)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsThereStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine := filepath.Join(dir, "README.md")
	if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Write(Plugin{Kind: framework.KindRule, Name: "acme", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "README.md is there already") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %v, want the file that was there", entries)
	}
}

func TestUnfitNamesAndKindsAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Acme", "2acme", "a_b", "a-", "../a", "func", "main", "framework", strings.Repeat("a", 41)} {
		if _, err := Write(Plugin{Kind: framework.KindRule, Name: name, Dir: t.TempDir()}); err == nil {
			t.Errorf("%q: got no error", name)
		}
	}
	if _, err := Write(Plugin{Kind: framework.KindInbound, Name: "acme", Dir: t.TempDir()}); err == nil {
		t.Error("an inbound: got no error")
	}
}

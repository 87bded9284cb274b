package store_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework/store"
)

func TestValuesSurviveReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), store.File)
	s := open(t, path)

	for _, err := range []error{
		s.SetSelected("组/100% x", "socks-b"), s.SetSelected("gone", "x"), s.SetSelected("gone", ""),
		s.Put("zashboard", []byte(`{"a":1}`)), s.Put("", []byte("1")), s.Put("gone", []byte("1")), s.Delete("gone"), s.Delete("never"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, path)

	if got := s.Selected("组/100% x"); got != "socks-b" {
		t.Errorf("selected %q, want socks-b", got)
	}
	if got := s.Selected("gone"); got != "" {
		t.Errorf("selected %q after it was cleared", got)
	}
	for key, want := range map[string]string{"zashboard": `{"a":1}`, "": "1", "gone": "", "never": ""} {
		if got, err := s.Get(key); string(got) != want || err != nil {
			t.Errorf("Get(%q) = %q, %v; want %q", key, got, err, want)
		}
	}
}

func TestBrokenFileIsSetAside(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{
		"garbage": bytes.Repeat([]byte("no store "), 5000),
		"short":   []byte("x"),
		"zeros":   make([]byte, 32<<10),
	} {
		path := filepath.Join(t.TempDir(), store.File)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, moved, err := store.Open(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if kept, _ := os.ReadFile(moved); !bytes.Equal(kept, content) {
			t.Errorf("%s: the broken file was not kept at %q", name, moved)
		}
		if err := s.SetSelected("g", "m"); err != nil {
			t.Errorf("%s: the new file takes no value: %v", name, err)
		}
		s.Close()
	}
}

func TestStoreThatIsNotOpenFailsOnWrites(t *testing.T) {
	t.Parallel()
	var s *store.Store
	if err := s.Put("k", []byte("1")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Put on nil: %v, want ErrClosed", err)
	}
	if v, err := s.Get("k"); v != nil || err != nil {
		t.Errorf("Get on nil: %q, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSecondProcessIsToldWhy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), store.File)
	open(t, path)

	if _, _, err := store.Open(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v, want an error that names another process", err)
	}
}

// TestAcknowledgedWriteSurvivesKill runs itself as a child that writes, says
// so, and is killed.
func TestAcknowledgedWriteSurvivesKill(t *testing.T) {
	t.Parallel()
	if path := os.Getenv("CULVERT_STORE_CHILD"); path != "" {
		s := open(t, path)
		if err := s.SetSelected("g", "kept"); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("written\n")
		select {}
	}
	path := filepath.Join(t.TempDir(), store.File)
	child := exec.Command(os.Args[0], "-test.run=^TestAcknowledgedWriteSurvivesKill$")
	child.Env = append(os.Environ(), "CULVERT_STORE_CHILD="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("written\n"))
	if _, err := out.Read(line); err != nil || string(line) != "written\n" {
		t.Errorf("child said %q, %v", line, err)
	}
	child.Process.Kill()
	child.Wait()

	if got := open(t, path).Selected("g"); got != "kept" {
		t.Errorf("selected %q after kill -9, want kept", got)
	}
}

func open(t *testing.T, path string) *store.Store {
	t.Helper()
	s, moved, err := store.Open(path)
	if err != nil || moved != "" {
		t.Fatalf("open: %v, moved %q", err, moved)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

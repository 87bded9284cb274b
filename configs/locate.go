package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// firstFile is what a new configuration file holds.
const firstFile = "mixed-port: 7890\n"

// lookup is the value of a variable, "" when it is not set.
func lookup(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if key, value, ok := strings.Cut(environ[i], "="); ok && key == name {
			return value
		}
	}
	return ""
}

// Locate fills Home, File and Base64 where they are empty: from
// CLASH_HOME_DIR, CLASH_CONFIG_FILE and CLASH_CONFIG_STRING, which a given
// File beats; else the home
// directory is the first of ~/.config/culvert, ~/.config/mihomo and the same
// under XDG_CONFIG_HOME that exists, and the file is config.yaml in it.
// Relative paths are those of the working directory.
func (in Input) Locate() Input {
	if in.Home == "" {
		in.Home = lookup(in.Environ, "CLASH_HOME_DIR")
	}
	if in.Home == "" {
		in.Home = defaultHome(in.Environ)
	}
	in.Home = absolute(in.Home)
	if in.Bytes != nil {
		return in
	}
	if in.Base64 == "" && in.File == "" {
		in.Base64 = lookup(in.Environ, "CLASH_CONFIG_STRING")
	}
	if in.File == "" {
		in.File = lookup(in.Environ, "CLASH_CONFIG_FILE")
	}
	switch in.File {
	case "-":
	case "":
		in.File = filepath.Join(in.Home, "config.yaml")
	default:
		in.File = absolute(in.File)
	}
	return in
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func defaultHome(environ []string) string {
	var dirs []string
	if home := lookup(environ, "HOME"); home != "" {
		dirs = append(dirs, filepath.Join(home, ".config"))
	}
	if xdg := lookup(environ, "XDG_CONFIG_HOME"); xdg != "" {
		dirs = append(dirs, xdg)
	}
	if len(dirs) == 0 {
		return "."
	}
	for _, dir := range dirs {
		for _, name := range []string{"culvert", "mihomo"} {
			at := filepath.Join(dir, name)
			if info, err := os.Stat(at); err == nil && info.IsDir() {
				return at
			}
		}
	}
	return filepath.Join(dirs[0], "culvert")
}

// Prepare makes the home directory, and the file with a first port when it is
// missing in a directory that exists. in comes from Locate.
func Prepare(in Input) error {
	if err := os.MkdirAll(in.Home, 0o700); err != nil {
		return fmt.Errorf("home directory: %w", err)
	}
	if in.Bytes != nil || in.Base64 != "" || in.File == "-" {
		return nil
	}
	f, err := os.OpenFile(in.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("new configuration: %w", err)
	}
	_, err = f.WriteString(firstFile)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// safePaths is the roots beside the home directory that files may lie in:
// SAFE_PATHS, or everything with SKIP_SAFE_PATH_CHECK=1.
func safePaths(environ []string) []string {
	if lookup(environ, "SKIP_SAFE_PATH_CHECK") == "1" {
		return []string{string(filepath.Separator)}
	}
	var out []string
	for _, dir := range filepath.SplitList(lookup(environ, "SAFE_PATHS")) {
		if dir != "" {
			out = append(out, absolute(dir))
		}
	}
	return out
}

// Resolve is path as seen from the home directory.
func (d *Document) Resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.Home, path)
}

// Inside says whether path, resolved, is in the home directory or one of the
// SafePaths. It looks at names only: a symbolic link may lead out.
func (d *Document) Inside(path string) bool {
	path = d.Resolve(path)
	for _, root := range append([]string{d.Home}, d.SafePaths...) {
		rel, err := filepath.Rel(root, path)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

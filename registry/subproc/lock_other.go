//go:build !unix

package subproc

import "os"

// lockFile opens a file, with os.O_CREATE makes it. This system refuses to
// remove a file that is open, which is lock enough.
func lockFile(path string, create int) (*os.File, error) {
	return os.OpenFile(path, create|os.O_RDWR, 0o600)
}

// owned says whether a path is a directory.
func owned(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

//go:build !unix

package subproc

import "os"

// lockFile makes or opens a file. This system refuses to remove a file that is
// open, which is lock enough.
func lockFile(path string) (*os.File, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }

// owned says whether a path is a directory.
func owned(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

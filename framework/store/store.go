// Package store keeps what must survive the process: the members that users
// selected and the small values of dashboards. It is one bbolt file; a write
// that returned is on disk and survives kill -9. It has no idea what the
// values mean.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// File is the file's name in the home directory, the one that users' files of
// selections have already.
const File = "cache.db"

// lockTimeout bounds the wait for another process that has the file; chosen:
// longer than a restart's overlap, shorter than a user's patience.
const lockTimeout = 500 * time.Millisecond

// Buckets: selections are kept where the peer keeps them.
var (
	selected = []byte("selected")
	storage  = []byte("storage")
)

// Store is an open file. Its methods are safe for concurrent use. The zero
// value and nil keep nothing and fail on writes.
type Store struct{ db *bolt.DB }

// ErrClosed is what writes return when there is no file.
var ErrClosed = errors.New("the store is not open")

// Open opens or makes the file at path. A file that is no store is renamed to
// path.broken and replaced; moved then says where it went.
func Open(path string) (s *Store, moved string, err error) {
	db, err := open(path)
	if err == nil {
		return &Store{db}, "", nil
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, "", fmt.Errorf("open %s: another process has it", path)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, "", fmt.Errorf("open %s: %w", path, err)
	}
	moved = path + ".broken"
	if renameErr := os.Rename(path, moved); renameErr != nil {
		return nil, "", fmt.Errorf("open %s: %w; set it aside: %w", path, err, renameErr)
	}
	if db, err = open(path); err != nil {
		return nil, moved, fmt.Errorf("open %s: %w", path, err)
	}
	return &Store{db}, moved, nil
}

// OpenIn opens File in the home directory. A kernel runs without a store as
// well: what is wrong is logged, and the nil Store that is returned then keeps
// nothing.
func OpenIn(home string, log *slog.Logger) *Store {
	s, moved, err := Open(filepath.Join(home, File))
	switch {
	case err != nil:
		log.Warn("selections are not kept", "err", err)
	case moved != "":
		log.Warn("the store was broken and begins anew", "kept_as", moved)
	}
	return s
}

// open turns the panics that bbolt has for some broken files into errors.
func open(path string) (db *bolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true})
}

// Close closes the file. Once.
func (s *Store) Close() error {
	if s == nil || s.db == nil {
		return nil
	}
	return s.db.Close()
}

// Selected is the member that was chosen for a group, "" for none.
func (s *Store) Selected(group string) string {
	v, _ := s.get(selected, group)
	return string(v)
}

// SetSelected keeps the member chosen for a group; "" forgets it.
func (s *Store) SetSelected(group, member string) error {
	if member == "" {
		return s.put(selected, group, nil)
	}
	return s.put(selected, group, []byte(member))
}

// Get is the value at key, nil when there is none.
func (s *Store) Get(key string) ([]byte, error) { return s.get(storage, key) }

// Put keeps a value.
func (s *Store) Put(key string, value []byte) error { return s.put(storage, key, value) }

// Delete forgets a value, also one that is not there.
func (s *Store) Delete(key string) error { return s.put(storage, key, nil) }

// Keys are hashed by nobody: bbolt takes up to 32,768 bytes and no empty one,
// so a mark stands before each key of storage. Group names are written as the
// peer writes them.
func bucketKey(bucket []byte, key string) []byte {
	if &bucket[0] == &storage[0] {
		return append([]byte{'/'}, key...)
	}
	return []byte(key)
}

func (s *Store) get(bucket []byte, key string) (v []byte, err error) {
	if s == nil || s.db == nil {
		return nil, nil
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucket); b != nil {
			v = append(v, b.Get(bucketKey(bucket, key))...)
		}
		return nil
	})
	return v, err
}

func (s *Store) put(bucket []byte, key string, value []byte) error {
	if s == nil || s.db == nil {
		return ErrClosed
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		if value == nil {
			return b.Delete(bucketKey(bucket, key))
		}
		return b.Put(bucketKey(bucket, key), value)
	})
}

package public

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	keyBytes = 32
	keyFile  = "public.key"
)

// LoadKey returns the key in dir/public.key. Where there is no such file it makes one
// of 32 random bytes, readable by its owner alone and on disk when LoadKey returns: a
// link signed with a key that a crash takes away would never work. Of several processes
// at once, all get the same key. Errors name the file and never hold the key.
func LoadKey(dir string) ([]byte, error) {
	file := filepath.Join(dir, keyFile)
	key, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(dir, file); err != nil {
			return nil, fmt.Errorf("make the key of unsubscribe links: %w", err)
		}
		key, err = readKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of unsubscribe links: %w", err)
	}
	return key, nil
}

func readKey(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular() || info.Size() != keyBytes:
		return nil, fmt.Errorf("%s is not a file of %d bytes: restore it from a backup, or remove it to begin with a new key, "+
			"with which the links sent so far stop working", file, keyBytes)
	// A group may be let in: where volumes belong to one, systems do so by themselves.
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("%s is open to everyone on this machine: chmod 600 it", file)
	}
	key := make([]byte, keyBytes)
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return key, nil
}

// makeKey writes the key under another name first, so that a crash leaves a whole one
// or none, and links it, so that it never takes the place of one that is there.
func makeKey(dir, file string) (err error) {
	f, err := os.CreateTemp(dir, keyFile+".*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	key := make([]byte, keyBytes)
	rand.Read(key) // never fails
	_, err = f.Write(key)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes new names last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

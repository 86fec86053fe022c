package feeds

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
)

const (
	// gzipExtension follows that of the format, as nginx' gzip_static wants it.
	gzipExtension = ".gz"
	// unfinished begins the name of a file that is being written. A crash leaves at
	// most one of each file, which the next edition overwrites.
	unfinished = ".unfinished-"
)

// Directory keeps public feeds as files for another web server: each document as
// its URL below /feeds/ names it, and compressed beside it with ".gz". A file has
// the old or the new content whatever happens, and is on disk when Write returns.
// One process writes to a directory. It is safe for concurrent use.
type Directory struct {
	root *os.Root

	mu      sync.Mutex
	written map[string]*Edition
}

// OpenDirectory opens a directory and makes it if it is missing; its parent has to
// be there.
func OpenDirectory(name string) (*Directory, error) {
	if err := os.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory of the feeds: %w", err)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open the directory of the feeds: %w", err)
	}
	return &Directory{root: root, written: make(map[string]*Edition)}, nil
}

// Close ends the use of the directory; the files stay.
func (d *Directory) Close() error { return d.root.Close() }

// Write writes an edition, of which what is there already is left out. A private
// feed has no files: who serves them may list them. Its error names files; see
// [Cause] for one that does not.
func (d *Directory) Write(name string, e *Edition) error {
	if e.private {
		return d.Remove(name)
	}
	d.mu.Lock()
	before := d.written[name]
	delete(d.written, name) // until all of it is there
	d.mu.Unlock()
	folder := path.Dir(name)
	if folder != "." {
		if err := d.root.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("feed directory: %w", err)
		}
	}
	for f, document := range e.documents {
		if before != nil && before.documents[f] == document {
			continue
		}
		file := name + Format(f).Extension()
		if err := errors.Join(d.replace(file, document.plain.body), d.replace(file+gzipExtension, document.gzip.body)); err != nil {
			return fmt.Errorf("feed directory: %w", err)
		}
	}
	if err := d.sync(folder); err != nil {
		return fmt.Errorf("feed directory: %w", err)
	}
	d.mu.Lock()
	d.written[name] = e
	d.mu.Unlock()
	return nil
}

// replace writes a file under another name and renames it once it is on disk.
func (d *Directory) replace(file string, content []byte) (err error) {
	other := path.Join(path.Dir(file), unfinished+path.Base(file))
	f, err := d.root.OpenFile(other, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(other, file)
	}
	if err != nil {
		_ = d.root.Remove(other) // the first error is the one to tell
	}
	return err
}

// sync makes renames last.
func (d *Directory) sync(folder string) error {
	f, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Remove removes a feed's files; those that aren't there are no error.
func (d *Directory) Remove(name string) error {
	d.mu.Lock()
	delete(d.written, name)
	d.mu.Unlock()
	var errs []error
	for f := range Formats {
		for _, file := range []string{name + f.Extension(), name + f.Extension() + gzipExtension} {
			if err := d.root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("feed directory: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// Cause returns what the system said of a file, without the file's name.
func Cause(err error) string {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err.Error()
	}
	if failed, ok := errors.AsType[*os.LinkError](err); ok {
		return failed.Err.Error()
	}
	return "failed"
}

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// errNotLinux is why something can't be read elsewhere.
var errNotLinux = errors.New("only Linux says")

// System is what the machine says of itself. Tests give one that is broken.
type System struct {
	// Root is the file system from "/" on; proc and sys are read in it.
	Root fs.FS
	// Files returns the soft and the hard limit of open files that an engine
	// started here would have.
	Files func() (soft, hard int, err error)
	// Clock says how the kernel keeps its time.
	Clock func() (Clock, error)
	// Disk looks at the file system that a folder is in.
	Disk func(folder string) (Disk, error)
	Now  func() time.Time
	// Host is the machine's name.
	Host string
	// Processors is GOMAXPROCS; MemoryLimit is GOMEMLIMIT in bytes,
	// [math.MaxInt64] for none.
	Processors  int
	MemoryLimit int64
}

// Clock is what the kernel knows of its clock.
type Clock struct {
	// Synchronised says that something keeps it right; Off is how far the kernel
	// thinks it may be off at most.
	Synchronised bool
	Off          time.Duration
}

// Disk is a mounted file system.
type Disk struct {
	// Kind is its name, or a number where it has none here.
	Kind string
	// Remote and Volatile say that it is on another machine, or in memory.
	Remote, Volatile bool
	// Free is what may be written, in bytes; FreeFiles how many files may be made,
	// 0 where that has no bound.
	Free, FreeFiles uint64
	ReadOnly        bool
}

// Machine is the system that this process runs on.
func Machine() System {
	host, _ := os.Hostname() // without one nothing is taken for ours
	return System{
		Root: os.DirFS("/"), Files: openFiles, Clock: kernelClock, Disk: disk, Now: time.Now, Host: host,
		Processors: runtime.GOMAXPROCS(0), MemoryLimit: debug.SetMemoryLimit(-1),
	}
}

// openFiles does what the engine does first, and so finds what it would have.
func openFiles() (soft, hard int, err error) {
	if soft, err = egress.RaiseFileLimit(); err != nil {
		return 0, 0, err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return soft, int(min(limit.Max, math.MaxInt32)), nil
}

// text reads a small file of the system, without the space around it.
func (s *System) text(name string) (string, error) {
	if s.Root == nil {
		return "", errNotLinux
	}
	b, err := fs.ReadFile(s.Root, name)
	if err != nil && runtime.GOOS != "linux" {
		return "", errNotLinux
	}
	return strings.TrimSpace(string(b)), err
}

// numbers reads a file of numbers with space between them.
func (s *System) numbers(name string) ([]int64, error) {
	text, err := s.text(name)
	if err != nil {
		return nil, err
	}
	return parseNumbers(text)
}

func parseNumbers(text string) ([]int64, error) {
	var all []int64
	for field := range strings.FieldsSeq(text) {
		n, err := strconv.ParseInt(field, 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			n, err = math.MaxInt64, nil // file-max may be more than fits
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no number", field)
		}
		all = append(all, n)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no number in it")
	}
	return all, nil
}

// sysctl reads a kernel setting by its name.
func (s *System) sysctl(name string) (string, error) {
	return s.text("proc/sys/" + strings.ReplaceAll(name, ".", "/"))
}

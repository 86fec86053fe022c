package egress

import (
	"fmt"
	"math"
	"syscall"
)

// RaiseFileLimit raises the soft limit of open files to the hard one and returns
// what then holds. main calls it once, before anything is opened.
func RaiseFileLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	soft := limit.Cur
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		// Some containers refuse it; what there was still holds.
		limit.Cur = soft
	}
	return int(min(limit.Cur, math.MaxInt32)), nil
}

// BudgetOf returns how many of the process's files may be outbound connections. A
// tenth, at least 96, stays for the rest: 10 for the runtime and logs, some 20 for
// the store, 2 for each name lookup, the broker, and requests to the HTTP servers.
func BudgetOf(files int) int { return max(files-max(96, files/10), 16) }

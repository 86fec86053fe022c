//go:build race

package simulate

// The race detector makes SQLite many times slower: `make sim` runs all seeds
// without it, as CI does.
const (
	seedsByDefault = 150
	seedsTwice     = 5
)

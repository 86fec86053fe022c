//go:build !race

package simulate

const (
	seedsByDefault = seedsOfCI
	seedsTwice     = 40
)

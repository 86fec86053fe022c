// Package report writes what a benchmark found as one HTML page for people.
//
// Promise: the page stands alone. It has no scripts and loads nothing, so that it
// opens offline, on a phone and on paper, years later. Whatever a results file
// holds, well-formed or not, a page comes out that shows what is there, and no text
// of the file becomes markup. A figure that is not there is a dash, never a zero.
//
// Words are those of package result. A card is one picture with what belongs to it.
package report

import (
	_ "embed" // the page's template and style
	"fmt"
	"html/template"
	"io"

	"github.com/tocsin/tocsin/bench/result"
)

//go:embed page.tmpl
var pageText string

//go:embed style.css
var style string

// Write writes the page.
func Write(out io.Writer, f *result.File) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		panic("report: the page's template is at fault: " + err.Error())
	}
	if err := t.Execute(out, newPage(f)); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// WriteFile writes the page to a file: whole, or not at all.
func WriteFile(name string, f *result.File) error {
	return writeFile(name, func(out io.Writer) error { return Write(out, f) })
}

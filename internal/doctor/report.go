package doctor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Count returns how many findings have the result.
func Count(findings []Finding, r Result) (n int) {
	for _, f := range findings {
		if f.Result == r {
			n++
		}
	}
	return n
}

// WriteJSON writes one object with all findings.
func WriteJSON(w io.Writer, findings []Finding) error {
	worst := OK
	for _, r := range []Result{Warning, Failure} {
		if Count(findings, r) > 0 {
			worst = r
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Result   Result    `json:"result"`
		OK       int       `json:"ok"`
		Skipped  int       `json:"skipped"`
		Warnings int       `json:"warnings"`
		Failures int       `json:"failures"`
		Checks   []Finding `json:"checks"`
	}{worst, Count(findings, OK), Count(findings, Skipped), Count(findings, Warning), Count(findings, Failure), findings})
}

// WriteText writes a report for a terminal. What needs somebody comes last, where the
// eye is when it has scrolled by: warnings, then failures, then the sum.
func WriteText(w io.Writer, findings []Finding) error {
	order := []Result{OK, Skipped, Warning, Failure}
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int {
		return cmp.Compare(slices.Index(order, a.Result), slices.Index(order, b.Result))
	})
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range sorted {
		if f.Result == OK || f.Result == Skipped {
			fmt.Fprintf(table, "%s\t%s\t%s\n", f.Result, f.Check, f.Found)
		}
	}
	_ = table.Flush() // memory takes everything
	for _, f := range sorted {
		if f.Result == OK || f.Result == Skipped {
			continue
		}
		fmt.Fprintf(&b, "\n%s  %s\n", strings.ToUpper(string(f.Result)), f.Check)
		for _, line := range [][2]string{{"found", f.Found}, {"wanted", f.Wanted}, {"effect", f.Effect}, {"fix", f.Fix}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "  %-6s  %s\n", line[0], line[1])
			}
		}
	}
	fmt.Fprintf(&b, "\n%s, %s, %d ok, %d skipped\n", plural(Count(findings, Failure), "failure"), plural(Count(findings, Warning), "warning"),
		Count(findings, OK), Count(findings, Skipped))
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

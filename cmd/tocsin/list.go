package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"
	"time"
)

// tableRows is how many rows of a table are held to make its columns fit; a longer
// list is printed as it comes.
const tableRows = 1000

// printList prints a list as it comes: as JSON, one object a line, or as a table.
// What was printed before an error stays.
func printList[T any](w io.Writer, asJSON bool, items iter.Seq2[json.RawMessage, error], header string, cells func(*T) []any) error {
	out := bufio.NewWriter(w)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	flush := func() error {
		if err := table.Flush(); err != nil {
			return err
		}
		return out.Flush()
	}
	rows := 0
	for item, err := range items {
		if err != nil {
			_ = flush() // the first error says more
			return err
		}
		if rows == 0 && !asJSON {
			fmt.Fprintln(table, header)
		}
		if err := printItem(out, table, asJSON, item, cells); err != nil {
			_ = flush()
			return err
		}
		if rows++; rows%tableRows == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if rows == 0 && !asJSON {
		fmt.Fprintln(table, header)
	}
	return flush()
}

func printItem[T any](out, table io.Writer, asJSON bool, item json.RawMessage, cells func(*T) []any) error {
	if asJSON {
		_, err := fmt.Fprintf(out, "%s\n", item)
		return err
	}
	var v T
	if err := json.Unmarshal(item, &v); err != nil {
		return fmt.Errorf("an entry of the list can't be read: %w", err)
	}
	row := cells(&v)
	_, err := fmt.Fprintf(table, strings.Repeat("%v\t", len(row)-1)+"%v\n", row...)
	return err
}

// orAll stands for a list of components, of which none means all.
func orAll(components []string) string {
	if len(components) == 0 {
		return "all"
	}
	return strings.Join(components, ",")
}

// stamp is a time to the second, or "-".
func stamp(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Problem is one fault of a configuration. It holds no value, so it is safe to
// print.
type Problem struct {
	// Source is the file, the environment variable or the flag at fault; "" if
	// no setting is but the lack of one.
	Source string
	// Line and Column count from 1 in a file; 0 elsewhere.
	Line, Column int
	// Key is the path, as in retry.base or smtp[0].url; "" for the whole file.
	Key string
	// Reason says what is allowed.
	Reason string
}

// Error returns "file:line:column: key: reason" with the parts that are known.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Reason)
	return b.String()
}

// place is where a setting stands.
type place struct {
	source       string
	line, column int
}

// faults gathers problems, one per key, and knows where each key was set.
type faults struct {
	problems []*Problem
	places   map[string]place
	faulty   map[string]bool
}

func newFaults() *faults {
	return &faults{places: make(map[string]place), faulty: make(map[string]bool)}
}

// moved notes that a setting of another source took the place of key and of
// all within it.
func (f *faults) moved(key, source string) {
	maps.DeleteFunc(f.places, func(k string, _ place) bool { return strings.HasPrefix(k, key+"[") })
	f.places[key] = place{source: source}
}

// placeOf finds where key was set, or what it is a part of.
func (f *faults) placeOf(key string) place {
	for key != "" {
		if p, ok := f.places[key]; ok {
			return p
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return f.places[""]
}

// at reports a fault of a setting, wherever it was set last.
func (f *faults) at(key, format string, args ...any) {
	if f.faulty[key] {
		return
	}
	f.faulty[key] = true
	p := f.placeOf(key)
	f.problems = append(f.problems, &Problem{p.source, p.line, p.column, key, fmt.Sprintf(format, args...)})
}

// err returns all problems in the order of the file, nil if there are none.
func (f *faults) err() error {
	slices.SortStableFunc(f.problems, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(f.problems))
	for i, p := range f.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// named makes a name from the file fit for an error text.
func named(name string) string {
	const most = 64
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return strconv.Quote(name)
}

// closest returns the name that differs from s in at most a third of its
// letters, "" if there is none.
func closest(s string, names []string) string {
	best, distance := "", len(s)/3+1
	for _, name := range names {
		if d := edits(strings.ToLower(s), name); d <= distance && (best == "" || d < distance) {
			best, distance = name, d
		}
	}
	return best
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			swap := diagonal
			if a[i] != b[j] {
				swap++
			}
			diagonal = row[j+1]
			row[j+1] = min(swap, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

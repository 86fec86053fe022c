package channeltest

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/channels"
)

// Docs is docs/channels.md, or a section of it, to be held against the code. The
// tests of the adapters, which run in their own folders, read it.
type Docs struct{ text string }

// ReadDocs returns the section under a heading such as "## Mail", with those below.
func ReadDocs(t testing.TB, heading string) Docs {
	t.Helper()
	text, err := os.ReadFile("../../docs/channels.md")
	if err != nil {
		t.Fatal(err)
	}
	return Docs{string(text)}.Section(t, heading)
}

// Section returns the section under a heading, up to the next of its level.
func (d Docs) Section(t testing.TB, heading string) Docs {
	t.Helper()
	_, rest, found := strings.Cut(d.text, "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/channels.md has no %q", heading)
	}
	for level := range strings.SplitSeq("# ## ### ####", " ") {
		rest, _, _ = strings.Cut(rest, "\n"+level+" ")
		if strings.HasPrefix(heading, level+" ") {
			break
		}
	}
	return Docs{rest}
}

// Table returns the cells of the rows of the section's table whose first column has
// the given name, the heading row left out, without their backticks.
func (d Docs) Table(t testing.TB, first string) [][]string {
	t.Helper()
	rows := d.table(t, first)
	for _, row := range rows {
		for i := range row {
			row[i] = strings.ReplaceAll(row[i], "`", "")
		}
	}
	return rows
}

func (d Docs) table(t testing.TB, first string) [][]string {
	t.Helper()
	var rows [][]string
	in := false
	for line := range strings.Lines(d.text) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "|")
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case isRow && cells[0] == first:
			in = true
		case isRow && in && !strings.HasPrefix(line, "-"):
			rows = append(rows, cells)
		case in && !isRow:
			return rows
		}
	}
	if !in {
		t.Fatalf("docs/channels.md has no table of %q", first)
	}
	return rows
}

// Example returns the section's first fenced block.
func (d Docs) Example(t testing.TB) string {
	t.Helper()
	_, rest, found := strings.Cut(d.text, "\n```")
	_, rest, _ = strings.Cut(rest, "\n")
	text, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatal("docs/channels.md has no example here")
	}
	return text + "\n"
}

// Paragraph returns the section's paragraph that begins with text, without that.
func (d Docs) Paragraph(t testing.TB, text string) string {
	t.Helper()
	_, rest, found := strings.Cut(d.text, "\n\n"+text)
	if !found {
		t.Fatalf("docs/channels.md has no paragraph %q", text)
	}
	paragraph, _, _ := strings.Cut(rest, "\n\n")
	return paragraph
}

// Says reports whether the section has a text.
func (d Docs) Says(text string) bool { return strings.Contains(d.text, text) }

// Match holds a table of two columns against what the code says, both ways.
func (d Docs) Match(t testing.TB, first string, want map[string]string) {
	t.Helper()
	seen := make(map[string]bool)
	for _, row := range d.Table(t, first) {
		said, known := want[row[0]]
		switch {
		case !known:
			t.Errorf("docs/channels.md has %q, which is not in the code", row[0])
		case row[1] != said:
			t.Errorf("docs/channels.md says %q of %q; it is %q", row[1], row[0], said)
		}
		seen[row[0]] = true
	}
	for name, said := range want {
		if !seen[name] {
			t.Errorf("docs/channels.md lacks %q, which is %q", name, said)
		}
	}
}

// Results holds the section's table of details against results that the code made,
// both ways. A row has one or more details in backticks, in which "…" stands for
// anything; the rest is for the reader.
func (d Docs) Results(t testing.TB, made []channels.Result) {
	t.Helper()
	rows := d.table(t, "detail")
	used := make([]bool, len(rows))
	for _, r := range made {
		at := slices.IndexFunc(rows, func(row []string) bool {
			if row[0] == "" || r.Detail == "" {
				return row[0] == r.Detail
			}
			return slices.ContainsFunc(quoted.FindAllString(row[0], -1), func(pattern string) bool {
				before, after, open := strings.Cut(strings.Trim(pattern, "`"), "…")
				return r.Detail == before && !open || open && strings.HasPrefix(r.Detail, before) && strings.HasSuffix(r.Detail, after)
			})
		})
		if at < 0 {
			t.Errorf("docs/channels.md lacks %q, which is %s", r.Detail, r.Class)
			continue
		}
		used[at] = true
		if said := strings.Trim(rows[at][1], "`"); said != r.Class.String() {
			t.Errorf("docs/channels.md says %s of %q; it is %s", said, r.Detail, r.Class)
		}
		if len(rows[at]) > 2 && (rows[at][2] == "none") != r.NoConnection {
			t.Errorf("docs/channels.md has the connection %q for %q; it is none: %t", rows[at][2], r.Detail, r.NoConnection)
		}
	}
	for i, row := range rows {
		if !used[i] {
			t.Errorf("docs/channels.md has %q, which the code does not say", row[0])
		}
	}
}

var quoted = regexp.MustCompile("`[^`]*`")

// Numbers returns what is among the numbers of a cell such as "503, 530–538".
func Numbers(t testing.TB, cell string) func(int) bool {
	t.Helper()
	var ranges [][2]int
	for part := range strings.SplitSeq(cell, ", ") {
		first, last, isRange := strings.Cut(part, "–")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			t.Fatalf("docs/channels.md has %q for a number", part)
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			t.Fatalf("docs/channels.md has %q for a number", part)
		}
		ranges = append(ranges, [2]int{from, to})
	}
	return func(n int) bool {
		return slices.ContainsFunc(ranges, func(r [2]int) bool { return r[0] <= n && n <= r[1] })
	}
}

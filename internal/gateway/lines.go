package gateway

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tocsin/tocsin/incident"
)

// maxLine bounds a line of an import, in bytes.
const maxLine = 64 << 10

// lines reads lines of bounded length.
type lines struct {
	r     *bufio.Reader
	begun bool
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, maxLine+len("\r\n"))}
}

// next returns the next line without its end or the spaces around it; it is valid
// until the following call. A line that is too long is skipped, and the error an
// [*incident.Invalid]; the one after the last line is io.EOF.
func (l *lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		if err := l.skip(); err != nil {
			return nil, err
		}
		return nil, &incident.Invalid{Field: "line", Reason: "must be at most 64 KiB"}
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if !l.begun {
		l.begun = true
		line = bytes.TrimPrefix(line, []byte("\ufeff")) // as spreadsheets begin a file
	}
	return bytes.TrimSpace(line), err
}

func (l *lines) skip() error {
	for {
		_, err := l.r.ReadSlice('\n')
		if err == nil || errors.Is(err, io.EOF) {
			return nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// table reads rows of CSV (RFC 4180, each row on one line) as JSON objects of the
// fields that the header names.
type table struct{ columns []string }

// The fields of a target, by how a cell stands for them.
var (
	textColumns = []string{"external_id", "channel", "address", "page", "min_impact", "visibility", "locale", "state", "format"}
	listColumns = []string{"components", "secrets"} // separated by ;
	flagColumns = []string{"every_update", "test"}  // true or false
)

func newTable(header []byte) (*table, error) {
	columns, bad := cells(header)
	if bad != nil {
		return nil, bad
	}
	all := slices.Concat(textColumns, listColumns, flagColumns)
	for i, name := range columns {
		if !slices.Contains(all, name) {
			return nil, refuseField("header", "must name fields of a target: "+strings.Join(all, ", "))
		}
		if slices.Contains(columns[:i], name) {
			return nil, refuseField("header", "must name each field once")
		}
	}
	return &table{columns}, nil
}

// object turns a row into JSON; empty cells are absent.
func (t *table) object(row []byte) ([]byte, error) {
	values, bad := cells(row)
	if bad != nil {
		return nil, bad
	}
	if len(values) != len(t.columns) {
		return nil, &incident.Invalid{Field: "line", Reason: "must have as many cells as the header"}
	}
	object := make(map[string]any, len(values))
	for i, value := range values {
		name := t.columns[i]
		switch {
		case value == "":
		case slices.Contains(listColumns, name):
			object[name] = list(value)
		case slices.Contains(flagColumns, name):
			if value != "true" && value != "false" {
				return nil, &incident.Invalid{Field: name, Reason: "must be true or false"}
			}
			object[name] = value == "true"
		default:
			object[name] = value
		}
	}
	out, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode a row as JSON: %w", err)
	}
	return out, nil
}

func list(cell string) []string {
	entries := []string{}
	for entry := range strings.SplitSeq(cell, ";") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// cells parses one row. A row that goes on in another line is refused: a quote
// that is never closed would swallow the rest of the file.
func cells(row []byte) ([]string, *incident.Invalid) {
	if !utf8.Valid(row) {
		return nil, &incident.Invalid{Field: "line", Reason: "must be UTF-8"}
	}
	r := csv.NewReader(bytes.NewReader(row))
	r.TrimLeadingSpace = true
	values, err := r.Read()
	if err != nil {
		return nil, &incident.Invalid{Field: "line", Reason: "must be one row of CSV, with closed quotes and no line break in a cell"}
	}
	return values, nil
}

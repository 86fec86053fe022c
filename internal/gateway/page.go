package gateway

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// listing is one page of a list.
type listing[T any] struct {
	Items []T `json:"items"`
	// Next is the cursor of the following page, null on the last one.
	Next *string `json:"next"`
}

// pageOf cuts items, of which one more than limit was asked for, and makes the
// cursor from the last one that stays.
func pageOf[T any](items []T, limit int, cursor func(last T) string) listing[T] {
	if items == nil {
		items = []T{}
	}
	if len(items) <= limit {
		return listing[T]{Items: items}
	}
	next := cursor(items[limit-1])
	return listing[T]{Items: items[:limit], Next: &next}
}

const maxLimit = 1000

// limitOf reads ?limit=.
func limitOf(r *http.Request, usual int) (int, error) {
	text := param(r, "limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, refuseField("limit", "must be a number from 1 to 1000")
	}
	return n, nil
}

// A cursor is opaque to clients: a kind, so that one list's is refused by
// another, and numbers.
func encodeCursor(kind string, numbers ...int64) string {
	parts := []string{kind}
	for _, n := range numbers {
		parts = append(parts, strconv.FormatInt(n, 36))
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(parts, ".")))
}

// cursorOf reads ?cursor=; without one, ok is false.
func cursorOf(r *http.Request, kind string, count int) (numbers []int64, ok bool, err error) {
	text := param(r, "cursor")
	if text == "" {
		return make([]int64, count), false, nil
	}
	bad := refuseField("cursor", "must be the next of an earlier answer to the same request")
	raw, decodeErr := base64.RawURLEncoding.DecodeString(text)
	parts := strings.Split(string(raw), ".")
	if decodeErr != nil || parts[0] != kind || len(parts) != count+1 {
		return nil, false, bad
	}
	for _, part := range parts[1:] {
		n, err := strconv.ParseInt(part, 36, 64)
		if err != nil || n < 0 {
			return nil, false, bad
		}
		numbers = append(numbers, n)
	}
	return numbers, true, nil
}

// param reads a parameter of the query, never of a body.
func param(r *http.Request, name string) string { return r.URL.Query().Get(name) }

// pageName reads ?page=, the status page.
func pageName(r *http.Request) string { return cmp.Or(param(r, "page"), "default") }

// idOf reads a target's id from the path; one that can't be is not found.
func idOf(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 || strconv.FormatInt(id, 10) != text {
		return 0, refuse(http.StatusNotFound, "there is no target by this id")
	}
	return id, nil
}

// moment is null in JSON for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

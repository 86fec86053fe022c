package senders

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// object is a JSON object whose fields are read by their exact names; package
// encoding/json folds their case. The first fault is kept, and readers do nothing
// after it.
type object struct {
	path   string // "" for the body
	fields map[string]any
	fault  **incident.Invalid
}

// parse reads a body of at most limit bytes: one JSON object. Numbers are int64 where
// they are whole and fit, else float64.
func parse(body []byte, limit int) (*object, error) {
	if len(body) > limit {
		return nil, &incident.Invalid{Field: "body", Reason: fmt.Sprintf("must be at most %d bytes", limit)}
	}
	if err := incident.CheckJSON(body, "body"); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, &incident.Invalid{Field: "body", Reason: "must be exactly one JSON value"}
	}
	fields, ok := numbered(v).(map[string]any)
	if !ok {
		return nil, &incident.Invalid{Field: "body", Reason: "must be a JSON object"}
	}
	return &object{fields: fields, fault: new(*incident.Invalid)}, nil
}

// numbered is v with its numbers made ready to be reckoned with.
func numbered(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64() // ±Inf beyond what it can hold
		if math.IsInf(f, 0) {
			return math.Copysign(math.MaxFloat64, f)
		}
		return f
	case []any:
		for i := range v {
			v[i] = numbered(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = numbered(v[name])
		}
	}
	return v
}

// err is the first fault, nil if there is none.
func (o *object) err() error {
	if *o.fault == nil {
		return nil
	}
	return *o.fault
}

func (o *object) fail(name, reason string) {
	if *o.fault == nil {
		*o.fault = &incident.Invalid{Field: o.at(name), Reason: reason}
	}
}

func (o *object) at(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// text is "" where there is none, or null.
func (o *object) text(name string) string {
	switch v := o.fields[name].(type) {
	case nil:
		return ""
	case string:
		return v
	}
	o.fail(name, "must be a string")
	return ""
}

// flag is false where there is none, or null.
func (o *object) flag(name string) bool {
	switch v := o.fields[name].(type) {
	case nil:
		return false
	case bool:
		return v
	}
	o.fail(name, "must be true or false")
	return false
}

// object is empty where there is none, or null.
func (o *object) object(name string) *object {
	switch v := o.fields[name].(type) {
	case nil:
		return &object{path: o.at(name), fault: o.fault}
	case map[string]any:
		return &object{o.at(name), v, o.fault}
	}
	o.fail(name, "must be an object")
	return &object{path: o.at(name), fault: o.fault}
}

// objects is a list of at most so many.
func (o *object) objects(name string, most int) []*object {
	v := o.fields[name]
	list, ok := v.([]any)
	switch {
	case v != nil && !ok:
		o.fail(name, "must be a list of objects")
	case len(list) > most:
		o.fail(name, fmt.Sprintf("must have at most %d entries", most))
		return nil
	}
	var all []*object
	for i, entry := range list {
		at := fmt.Sprintf("%s[%d]", name, i)
		fields, ok := entry.(map[string]any)
		if !ok {
			o.fail(at, "must be an object")
			return nil
		}
		all = append(all, &object{o.at(at), fields, o.fault})
	}
	return all
}

// when reads a time, zero where there is none. Besides RFC 3339 it takes offsets
// without a colon, which ISO 8601 has and some send.
func (o *object) when(name string) time.Time {
	text := o.text(name)
	if text == "" {
		return time.Time{}
	}
	t, ok := moment(text)
	if !ok {
		o.fail(name, "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z, of the years 1970 to 9999")
	}
	return t
}

func moment(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			t = t.UTC()
			return t, t.Year() >= 1970 && t.Year() <= 9999
		}
	}
	return time.Time{}, false
}

// oneOf reads a word that is in a map; an absent one is refused.
func oneOf[V any](o *object, name string, words map[string]V, allowed string) (v V) {
	v, ok := words[o.text(name)]
	if !ok {
		o.fail(name, "must be one of "+allowed)
	}
	return v
}

// required is text that must not be empty.
func (o *object) required(name string) string {
	text := o.text(name)
	if strings.TrimSpace(text) == "" {
		o.fail(name, "is required")
	}
	return text
}

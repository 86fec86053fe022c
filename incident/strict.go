package incident

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const maxDepth = 32

// checkJSON refuses what encoding/json would let pass or report badly: invalid
// UTF-8, unpaired surrogates, nesting deeper than depth and repeated names. whole
// is the field to blame for what has no name.
func checkJSON(data []byte, whole string, depth int) *Invalid {
	if !utf8.Valid(data) {
		return &Invalid{whole, "must be UTF-8"}
	}
	if bad := walk(data, whole, depth); bad != nil {
		return bad
	}
	if json.Valid(data) {
		return nil
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil { // says where
		reason := "must be exactly one JSON value"
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			reason += "; see byte " + strconv.FormatInt(syntax.Offset, 10)
		}
		return &Invalid{whole, reason}
	}
	return nil
}

// walk looks at strings and brackets alone and does without recursion, so it may
// meet anything, JSON or not; whether it is JSON is checked after it. In JSON a
// string before a colon is a name.
func walk(data []byte, whole string, depth int) *Invalid {
	var open []names // seen, per open object or array
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if len(open) == depth {
				return &Invalid{whole, fmt.Sprintf("must not be nested deeper than %d levels", depth)}
			}
			if len(open) < cap(open) { // with the room of one before
				open = open[:len(open)+1]
				open[len(open)-1].forget()
			} else {
				open = append(open, names{})
			}
		case '}', ']':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		case '"':
			end, paired := stringEnd(data, i)
			if !paired {
				return &Invalid{whole, `must not have unpaired surrogates (\ud800 to \udfff) in its strings`}
			}
			next := bytes.TrimLeft(data[end:], " \t\r\n")
			if len(open) > 0 && len(next) > 0 && next[0] == ':' {
				name := data[i+1 : end-1]
				if bytes.IndexByte(name, '\\') >= 0 {
					var text string
					if json.Unmarshal(data[i:end], &text) != nil {
						return &Invalid{whole, "must be exactly one JSON value"}
					}
					name = []byte(text)
				}
				if open[len(open)-1].add(name) {
					return &Invalid{named(string(name)), "must be given only once"}
				}
			}
			i = end - 1
		}
	}
	return nil
}

// names are those of one object so far: the first few in a list, which is faster, all
// of a large one in a map.
type names struct {
	few  [][]byte
	many map[string]struct{}
}

const fewNames = 16

func (n *names) forget() { n.few, n.many = n.few[:0], nil }

// add says whether name is there already.
func (n *names) add(name []byte) (twice bool) {
	if n.many != nil {
		if _, twice = n.many[string(name)]; !twice {
			n.many[string(name)] = struct{}{}
		}
		return twice
	}
	for _, seen := range n.few {
		if bytes.Equal(seen, name) {
			return true
		}
	}
	if n.few = append(n.few, name); len(n.few) > fewNames {
		n.many = make(map[string]struct{}, 2*len(n.few))
		for _, seen := range n.few {
			n.many[string(seen)] = struct{}{}
		}
	}
	return false
}

// stringEnd returns where the string that starts at data[i] ends, and whether its
// \u escapes leave no surrogate without its other half.
func stringEnd(data []byte, i int) (end int, paired bool) {
	paired = true
	for i++; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i + 1, paired
		case '\\':
			switch escapedUnit(data[i:]) {
			case highSurrogate:
				if escapedUnit(data[min(i+6, len(data)):]) == lowSurrogate {
					i += 11
					continue
				}
				paired = false
			case lowSurrogate:
				paired = false
			}
			i++
		}
	}
	return len(data), paired
}

type utf16Unit int

const (
	plainUnit utf16Unit = iota
	highSurrogate
	lowSurrogate
)

// escapedUnit tells what the \uXXXX at the start of data stands for.
func escapedUnit(data []byte) utf16Unit {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return plainUnit
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	switch {
	case err != nil || unit < 0xd800 || unit > 0xdfff:
		return plainUnit
	case unit < 0xdc00:
		return highSurrogate
	}
	return lowSurrogate
}

// CheckJSON holds a JSON document to the rules that [Decode] has for all of them:
// valid UTF-8 without unpaired surrogates, nesting of at most 32, no name twice in an
// object, nothing after it. The error is an [*Invalid]; whole is what it calls the
// document.
func CheckJSON(data []byte, whole string) error {
	if bad := checkJSON(data, whole, maxDepth); bad != nil {
		return bad
	}
	return nil
}

// compactJSON encodes v as encoding/json does, but leaves <, > and & alone: they
// would grow sixfold and outgrow the limits.
func compactJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode an event or target as JSON: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// canonical returns raw, a JSON value, without spaces and with sorted names;
// numbers keep their digits. An empty raw is null.
func canonical(raw json.RawMessage, field string) (json.RawMessage, *Invalid) {
	if len(raw) == 0 {
		return json.RawMessage("null"), nil
	}
	if bad := checkJSON(raw, field, maxDepth-1); bad != nil {
		return nil, bad
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, &Invalid{field, "must be a JSON value"}
	}
	out, err := compactJSON(v)
	if err != nil {
		return nil, &Invalid{field, "must be a JSON value"}
	}
	return out, nil
}

// object reads the fields of a JSON object by their exact names, unlike
// encoding/json, which folds case. Each reader removes its field, so what is left
// is unknown. The first fault is kept and later readers do nothing.
type object struct {
	path   string // "" for the document
	fields map[string]json.RawMessage
	fault  *Invalid
}

// readObject takes a whole document.
func readObject(data []byte, whole string) (*object, *Invalid) {
	if bad := checkJSON(data, whole, maxDepth); bad != nil {
		return nil, bad
	}
	o, bad := newObject(data, whole)
	if bad == nil {
		o.path = ""
	}
	return o, bad
}

// newObject takes a part of a document that has been checked.
func newObject(data []byte, path string) (*object, *Invalid) {
	o := &object{path: path}
	if err := json.Unmarshal(data, &o.fields); err != nil || o.fields == nil {
		return nil, &Invalid{path, "must be a JSON object"}
	}
	return o, nil
}

func (o *object) fail(bad *Invalid) {
	if o.fault == nil {
		o.fault = bad
	}
}

func (o *object) failAt(name, reason string) {
	if o.path != "" {
		name = o.path + "." + name
	}
	o.fail(&Invalid{name, reason})
}

// adopt takes over the fault of a nested object.
func (o *object) adopt(nested *object) {
	if nested.fault != nil {
		o.fail(nested.fault)
	}
}

func (o *object) take(name string) (json.RawMessage, bool) {
	raw, ok := o.fields[name]
	delete(o.fields, name)
	return raw, ok && string(raw) != "null"
}

// into decodes a field, if there, to v; want completes "must be".
func (o *object) into(name string, v any, want string) {
	if raw, ok := o.take(name); ok && json.Unmarshal(raw, v) != nil {
		o.failAt(name, "must be "+want)
	}
}

func (o *object) text(name string, v *string) { o.into(name, v, "a string") }
func (o *object) flag(name string, v *bool)   { o.into(name, v, "true or false") }

// when reads a time by the letter of RFC 3339, section 5.6. The time package also
// takes hours of one digit, a comma before the fraction and offsets of a day.
func (o *object) when(name string, v *time.Time) {
	var given *string
	o.into(name, &given, "a string")
	if given == nil {
		return
	}
	t, err := time.Parse(time.RFC3339, *given)
	_, offset := t.Zone()
	if err != nil || (*given)[13] != ':' || strings.Contains(*given, ",") || max(offset, -offset) >= 24*3600 {
		o.failAt(name, "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z")
	}
	*v = t
}

func (o *object) texts(name string, v *[]string) {
	// A fresh slice: decoding into the old one would write to the caller's array.
	var list []string
	o.into(name, &list, "a list of strings")
	if list != nil {
		*v = list
	}
}

// word reads a field that has one of a few values. That it is one of them is
// checked later; here an empty one is refused, for it must not become the default.
func word[W ~string](o *object, name string, v *W, allowed string) {
	var given *W
	o.into(name, &given, "a string")
	if given == nil {
		return
	}
	if *given == "" {
		o.failAt(name, "must be one of "+allowed)
	}
	*v = *given
}

// objects reads a list of up to limit objects.
func (o *object) objects(name string, limit int) []*object {
	var raw []json.RawMessage
	o.into(name, &raw, "a list of objects")
	if len(raw) > limit {
		o.failAt(name, fmt.Sprintf("must have at most %d entries", limit))
		return nil
	}
	list := make([]*object, 0, len(raw))
	for i, r := range raw {
		nested, bad := newObject(r, at(name, i))
		if bad != nil {
			o.fail(bad)
			return nil
		}
		list = append(list, nested)
	}
	return list
}

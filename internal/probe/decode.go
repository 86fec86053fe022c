package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tocsin/tocsin/incident"
)

// Limits of a body.
const (
	MaxBytes   = 1 << 20
	MaxResults = 10_000
)

// maxLatency is longer than any probe waits.
const maxLatency = 24 * time.Hour

// Decode reads results from JSON (RFC 8259): one object, a list of them, or an object
// with the list as "results". Fields have their exact names, each once, and no others
// are known. A result without a time is of now, and one after the other, so that
// several of one location count in their order. An error is an [*incident.Invalid]
// that names the first fault, as "results[3].ok".
func Decode(body []byte, now time.Time) ([]Result, error) {
	switch {
	case len(body) > MaxBytes:
		return nil, invalid("results", fmt.Sprintf("must be at most %d bytes", MaxBytes))
	case !utf8.Valid(body):
		return nil, invalid("results", "must be UTF-8")
	case !json.Valid(body): // so that tokens come as the grammar has them
		return nil, invalid("results", "must be exactly one JSON value")
	}
	d := &decoder{tokens: json.NewDecoder(bytes.NewReader(body)), now: now}
	d.tokens.UseNumber()
	if err := d.document(); err != nil {
		return nil, err
	}
	return d.results, nil
}

func invalid(field, reason string) error { return &incident.Invalid{Field: field, Reason: reason} }

// decoder walks over the tokens of a valid document, so that it sees names that are
// repeated and knows how deep it is.
type decoder struct {
	tokens  *json.Decoder
	now     time.Time
	results []Result
}

func (d *decoder) next() (json.Token, error) {
	token, err := d.tokens.Token()
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, io.EOF):
		return nil, invalid("results", "must be exactly one JSON value")
	}
	return nil, invalid("results", "must be JSON") // whatever package json knows better
}

func (d *decoder) document() error {
	first, err := d.next()
	switch {
	case err != nil:
		return err
	case first == json.Delim('['):
		return d.list()
	case first != json.Delim('{'):
		return invalid("results", "must be an object or a list of them")
	}
	// One result, or the object around several: its first name tells.
	if !d.tokens.More() {
		return invalid("results", "is required, or one result with service, location and ok")
	}
	name, err := d.next()
	if err != nil {
		return err
	}
	if name != "results" {
		return d.result(name)
	}
	token, err := d.next()
	if err != nil {
		return err
	}
	if token != json.Delim('[') {
		return invalid("results", "must be a list of objects")
	}
	if err := d.list(); err != nil {
		return err
	}
	if d.tokens.More() {
		return invalid("results", "must be the only field of the object around it")
	}
	return nil
}

// list reads what follows a bracket.
func (d *decoder) list() error {
	for d.tokens.More() {
		if len(d.results) == MaxResults {
			return invalid("results", fmt.Sprintf("must have at most %d entries", MaxResults))
		}
		token, err := d.next()
		if err != nil {
			return err
		}
		if token != json.Delim('{') {
			return invalid(d.at(""), "must be an object")
		}
		if err := d.result(nil); err != nil {
			return err
		}
	}
	_, err := d.next()
	return err
}

// at names a field of the result that is being read.
func (d *decoder) at(field string) string {
	name := "results[" + strconv.Itoa(len(d.results)) + "]"
	if field != "" {
		name += "." + field
	}
	return name
}

// fields of a result, by the bit that says that one was given.
var fields = []string{"service", "location", "ok", "latency_ms", "at", "weight"}

// needed are service, location and ok.
const needed = 3

// result reads what follows a brace; name is the first one, if that was read already.
func (d *decoder) result(name json.Token) error {
	r := Result{Weight: WeightOne}
	seen, given := 0, 0 // null is as if it weren't there, but not twice
	for name != nil || d.tokens.More() {
		if name == nil {
			var err error
			if name, err = d.next(); err != nil {
				return err
			}
		}
		field, err := d.known(name, &seen)
		if err != nil {
			return err
		}
		name = nil
		value, err := d.next()
		if err != nil {
			return err
		}
		if value == nil {
			continue
		}
		given |= 1 << field
		if reason := r.set(fields[field], value, d.now); reason != "" {
			return invalid(d.at(fields[field]), reason)
		}
	}
	if _, err := d.next(); err != nil {
		return err
	}
	for i, field := range fields[:needed] {
		if given&(1<<i) == 0 {
			return invalid(d.at(field), "is required")
		}
	}
	if r.At.IsZero() {
		r.At = d.now.Add(time.Duration(len(d.results)))
	}
	d.results = append(d.results, r)
	return nil
}

// known finds a field that wasn't given yet.
func (d *decoder) known(name json.Token, seen *int) (int, error) {
	for i, field := range fields {
		if name != field {
			continue
		}
		if *seen&(1<<i) != 0 {
			return 0, invalid(d.at(field), "must be given only once")
		}
		*seen |= 1 << i
		return i, nil
	}
	return 0, invalid(d.at(""), "may have "+strings.Join(fields, ", ")+" and no other field")
}

// set returns the reason to refuse a value.
func (r *Result) set(field string, value json.Token, now time.Time) (reason string) {
	switch field {
	case "service":
		return text(value, &r.Service)
	case "location":
		return text(value, &r.Location)
	case "ok":
		ok, is := value.(bool)
		if !is {
			return "must be true or false"
		}
		r.OK = ok
		return ""
	case "at":
		return r.setTime(value, now)
	}
	number, is := value.(json.Number)
	if !is {
		return "must be a number"
	}
	n, err := number.Float64()
	if field == "weight" {
		if r.Weight, err = WeightOf(n); err != nil {
			return reasonOf(err)
		}
		return ""
	}
	if most := maxLatency.Milliseconds(); err != nil || n < 0 || n > float64(most) {
		return fmt.Sprintf("must be from 0 to %d, in milliseconds", most)
	}
	r.Latency = time.Duration(n * float64(time.Millisecond))
	return ""
}

// setTime reads a time by the letter of RFC 3339, section 5.6. The time package also
// takes hours of one digit, a comma before the fraction and offsets of a day.
func (r *Result) setTime(value json.Token, now time.Time) (reason string) {
	given, _ := value.(string)
	at, err := time.Parse(time.RFC3339, given)
	_, offset := at.Zone()
	if err != nil || given[13] != ':' || strings.Contains(given, ",") || max(offset, -offset) >= 24*3600 {
		return "must be an RFC 3339 time, such as 2026-11-21T05:00:00Z"
	}
	if at.Sub(now) > MaxAhead {
		return fmt.Sprintf("must be at most %s ahead of this engine's clock", MaxAhead)
	}
	if at.UTC().Year() < 1970 { // no probe looked then; it is late in any case
		at = time.Unix(0, 0)
	}
	r.At = at.UTC()
	return ""
}

// text reads a name as a component's: what a service is to become.
func text(value json.Token, into *string) (reason string) {
	given, is := value.(string)
	if !is {
		return "must be a string"
	}
	if strings.ContainsRune(given, utf8.RuneError) { // what half a surrogate pair is read as
		return "must not have unpaired surrogates or U+FFFD"
	}
	name, err := incident.ComponentID(given)
	if err != nil {
		return reasonOf(err)
	}
	if len(name) > MaxName {
		return fmt.Sprintf("must be at most %d bytes", MaxName)
	}
	*into = name
	return ""
}

func reasonOf(err error) string {
	if bad, ok := errors.AsType[*incident.Invalid](err); ok {
		return bad.Reason
	}
	return "can't be read"
}

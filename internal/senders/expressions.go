package senders

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
)

// SourceMapping is the source of what is read by expressions.
const SourceMapping = "mapping"

const (
	maxItems   = 1000
	maxReports = 100
	// maxRead is how long the expressions of one body may take, whatever they cost.
	maxRead = 2 * time.Second
)

// Expressions say, in CEL, what of a JSON body becomes what of an incident. They know
// body, and item: what they are run for. Group, Firing and Impact are needed; others
// may be "", or give null, and the default holds.
type Expressions struct {
	// Each gives the list of items; without one the body is the only item.
	Each string
	// Page is that of the source, if not given.
	Page string
	// Group gives the incident_id, and Key tells the signals of a group apart;
	// without one a group has one signal.
	Group, Key string
	// Firing gives true or false.
	Firing string
	// Component gives a string or a list of strings; the whole page, if not given.
	Component string
	// Impact and Visibility give words of package incident; Visibility may be none.
	Impact, Visibility string
	Title, Message     string
	// PublicDetails gives a map of names to strings or numbers.
	PublicDetails string
	// StartedAt gives a time; that of the first report, if not given.
	StartedAt string
}

// Mapping reads bodies by expressions. It is safe for concurrent use.
type Mapping struct {
	page string

	each, pageOf, group, key, firing, component, impact, visibility, title, message, public, startedAt *expression
}

// NewMapping compiles expressions and checks their types. An [*incident.Invalid] names
// the one that is at fault, as the configuration does, with line and column. page is
// that of the source.
func NewMapping(x Expressions, page string) (*Mapping, error) {
	env, err := newEnvironment()
	if err != nil {
		return nil, err
	}
	m := &Mapping{page: page}
	list := cel.ListType(cel.DynType)
	for _, e := range []struct {
		to       **expression
		name     string
		text     string
		required bool
		want     []*cel.Type
	}{
		{&m.each, "each", x.Each, false, []*cel.Type{list}},
		{&m.pageOf, "page", x.Page, false, []*cel.Type{cel.StringType}},
		{&m.group, "group", x.Group, true, []*cel.Type{cel.StringType, cel.IntType}},
		{&m.key, "key", x.Key, false, []*cel.Type{cel.StringType, cel.IntType}},
		{&m.firing, "firing", x.Firing, true, []*cel.Type{cel.BoolType}},
		{&m.component, "component", x.Component, false, []*cel.Type{cel.StringType, list}},
		{&m.impact, "impact", x.Impact, true, []*cel.Type{cel.StringType}},
		{&m.visibility, "visibility", x.Visibility, false, []*cel.Type{cel.StringType}},
		{&m.title, "title", x.Title, false, []*cel.Type{cel.StringType}},
		{&m.message, "message", x.Message, false, []*cel.Type{cel.StringType}},
		{&m.public, "public_details", x.PublicDetails, false, []*cel.Type{cel.MapType(cel.StringType, cel.DynType)}},
		{&m.startedAt, "started_at", x.StartedAt, false, []*cel.Type{cel.TimestampType, cel.StringType, cel.IntType, cel.DoubleType}},
	} {
		if e.text == "" {
			if e.required {
				return nil, &incident.Invalid{Field: e.name, Reason: "is missing: give it an expression of CEL"}
			}
			continue
		}
		if *e.to, err = compileExpression(env, e.name, e.text, e.want...); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Read reads a body of at most [MaxBody]: one report for each page and group that its
// items name. A refusal names an expression, as "mapping.firing".
func (m *Mapping) Read(ctx context.Context, body []byte) (*Reading, error) {
	o, err := parse(body, MaxBody)
	if err != nil {
		return nil, err
	}
	if _, err := shorten(o.fields); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxRead)
	defer cancel()
	r := &reckoning{ctx: ctx, body: o.fields, item: o.fields}
	items, err := m.items(r)
	if err != nil {
		return nil, err
	}
	type place struct{ page, group string }
	at := make(map[place]*lifecycle.Report)
	reading := &Reading{}
	for i, item := range items {
		r.item = item
		if m.each != nil {
			r.where = "of item " + strconv.Itoa(i) + " "
		}
		one, err := m.report(r)
		if err != nil {
			return nil, err
		}
		known := at[place{one.Page, one.Group}]
		if known != nil {
			known.Signals = append(known.Signals, one.Signals...)
			continue
		}
		if len(reading.Reports) == maxReports {
			return nil, &incident.Invalid{Field: "mapping.group", Reason: fmt.Sprintf("must give at most %d groups of one body", maxReports)}
		}
		at[place{one.Page, one.Group}] = one
		reading.Reports = append(reading.Reports, one)
	}
	return reading, nil
}

func (m *Mapping) items(r *reckoning) ([]any, error) {
	if m.each == nil {
		return []any{r.item}, nil
	}
	v, err := r.value(m.each)
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case nil:
		return nil, nil
	case string, bool, int64, float64, map[string]any:
		return nil, r.refuse(m.each, "must give a list")
	}
	items := elements(v)
	if len(items) > maxItems {
		return nil, r.refuse(m.each, fmt.Sprintf("must give at most %d items", maxItems))
	}
	return items, nil
}

// report is what an item says.
func (m *Mapping) report(r *reckoning) (*lifecycle.Report, error) {
	report := &lifecycle.Report{Source: SourceMapping}
	s := lifecycle.Signal{StartedAt: later}
	var errs [11]error
	var impact, mark string
	report.Page, errs[0] = r.text(m.pageOf)
	report.Group, errs[1] = r.text(m.group)
	s.Key, errs[2] = r.text(m.key)
	s.Firing, errs[3] = r.truth(m.firing)
	s.Components, errs[4] = r.texts(m.component)
	impact, errs[5] = r.text(m.impact)
	mark, errs[6] = r.text(m.visibility)
	s.Title, errs[7] = r.text(m.title)
	s.Message, errs[8] = r.text(m.message)
	started, err := r.when(m.startedAt)
	errs[9] = err
	s.PublicDetails, errs[10] = r.pairs(m.public)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if !started.IsZero() {
		s.StartedAt = started
	}
	report.Page, s.Key = cmp.Or(report.Page, m.page), cmp.Or(s.Key, "signal")
	s.Impact, s.Mark = incident.Impact(impact), lifecycle.Mark(mark)
	report.Signals = []lifecycle.Signal{s}
	if err := report.Check(); err != nil {
		return nil, byExpression(r, err)
	}
	return report, nil
}

// byExpression names the expression that gave what a report can't have.
func byExpression(r *reckoning, err error) error {
	invalid, ok := errors.AsType[*incident.Invalid](err)
	if !ok {
		return err
	}
	field := invalid.Field
	switch {
	case field == "incident_id":
		field = "group"
	case strings.HasPrefix(field, "affected_components"):
		field = "component"
	case strings.HasPrefix(field, "public_details"):
		field = "public_details" // the name may be of the body
	}
	return &incident.Invalid{Field: "mapping." + field, Reason: r.where + invalid.Reason}
}

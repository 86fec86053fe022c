package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tocsin/tocsin/incident"
)

const (
	// A batch goes to the store once it has so many targets or bytes.
	batchTargets = 1000
	batchBytes   = 1 << 20
	// maxImportErrors bounds the answer; further refusals are only counted.
	maxImportErrors = 1000

	mediaNDJSON = "application/x-ndjson"
	mediaCSV    = "text/csv"
)

// importAnswer says what became of the lines of an import.
type importAnswer struct {
	Accepted int           `json:"accepted"`
	Rejected int           `json:"rejected"`
	Errors   []importError `json:"errors"`
}

type importError struct {
	Line   int    `json:"line"`
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// importTargets streams targets into the store, a batch at a time, so that memory
// does not grow with their number. Each batch is committed for itself: if the
// process dies or the client goes, whole batches are there or not, and an import
// of targets with external ids can be repeated.
func (g *gateway) importTargets(w http.ResponseWriter, r *http.Request) error {
	media, err := mediaType(r, mediaNDJSON, mediaCSV)
	if err != nil {
		return err
	}
	select {
	case g.imports <- struct{}{}:
		defer func() { <-g.imports }()
	default:
		return refuse(http.StatusServiceUnavailable, "as many imports as can be are running; send this one later")
	}
	body := &pacedBody{body: r.Body, control: http.NewResponseController(w), timeout: g.opt.BodyTimeout}
	i := &importer{g: g, ctx: r.Context(), renew: body.renew, answer: importAnswer{Errors: []importError{}}}
	if err := i.run(newLines(body), media); err != nil {
		return i.cut(err)
	}
	return writeJSON(w, http.StatusOK, i.answer)
}

// importer is one running import.
type importer struct {
	g      *gateway
	ctx    context.Context
	renew  func()
	answer importAnswer

	line  int // the one read last
	batch []*incident.Target
	lines []int // of the batch
	bytes int   // of the batch
}

func (i *importer) run(lines *lines, media string) error {
	decode := i.g.newTarget
	if media == mediaCSV {
		header, err := i.next(lines)
		if errors.Is(err, io.EOF) {
			return refuseField("header", "is missing; begin with a line of the fields' names, such as channel,address")
		}
		if err != nil {
			return err
		}
		table, err := newTable(header)
		if err != nil {
			return err
		}
		decode = func(row []byte) (*incident.Target, error) {
			object, err := table.object(row)
			if err != nil {
				return nil, err
			}
			return i.g.newTarget(object)
		}
	}
	for {
		line, err := i.next(lines)
		if errors.Is(err, io.EOF) {
			return i.flush()
		}
		if err == nil && len(line) == 0 {
			continue
		}
		var t *incident.Target
		if err == nil {
			t, err = decode(line)
		}
		switch invalid, ok := errors.AsType[*incident.Invalid](err); {
		case err == nil:
			i.batch, i.lines, i.bytes = append(i.batch, t), append(i.lines, i.line), i.bytes+len(line)
		case ok:
			i.reject(i.line, invalid)
		default:
			return err
		}
		if len(i.batch) >= batchTargets || i.bytes >= batchBytes {
			if err := i.flush(); err != nil {
				return err
			}
		}
	}
}

func (i *importer) next(lines *lines) ([]byte, error) {
	i.line++
	return lines.next()
}

func (i *importer) reject(line int, why *incident.Invalid) {
	i.answer.Rejected++
	if len(i.answer.Errors) < maxImportErrors {
		i.answer.Errors = append(i.answer.Errors, importError{line, why.Field, why.Reason})
	}
}

// flush stores the batch. Should the store refuse one of it, each goes alone, so
// that the others are kept and the one is named.
func (i *importer) flush() error {
	defer i.renew()
	batch, lines := i.batch, i.lines
	i.batch, i.lines, i.bytes = i.batch[:0], i.lines[:0], 0
	if len(batch) == 0 {
		return nil
	}
	err := i.store(batch)
	if _, ok := errors.AsType[*incident.Invalid](err); !ok {
		return err
	}
	for n := range batch {
		err := i.store(batch[n : n+1])
		if invalid, ok := errors.AsType[*incident.Invalid](err); ok {
			i.reject(lines[n], invalid)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) store(batch []*incident.Target) error {
	done, err := i.g.Targets.Upsert(i.ctx, batch)
	if err != nil {
		return err
	}
	i.answer.Accepted += len(batch)
	i.g.tellChanged(done)
	return nil
}

// cut says how far an import got that could not go on.
func (i *importer) cut(err error) error {
	p := *problemOf(err)
	p.cause = err
	p.Detail = fmt.Sprintf("the import stopped near line %d, with %d targets accepted before: %s", i.line, i.answer.Accepted, p.Detail)
	return &p
}

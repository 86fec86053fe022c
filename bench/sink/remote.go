package sink

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Address is what a sink's process prints, as a line of JSON, once it listens.
type Address struct {
	Port    int    `json:"port"`
	Control string `json:"control"`
	// CA is the file with the authority of its certificates, if it has any.
	CA string `json:"ca,omitempty"`
}

// Remote asks a sink in another process, by its Control URL.
type Remote struct {
	Control string
	Client  *http.Client
}

// askPatience bounds one question.
const askPatience = 30 * time.Second

// Counts asks what came so far.
func (r *Remote) Counts(ctx context.Context) (*Counts, error) {
	var c Counts
	err := r.ask(ctx, http.MethodGet, "/counts", func(body io.Reader) error { return json.NewDecoder(body).Decode(&c) })
	return &c, err
}

// Record asks for everything.
func (r *Remote) Record(ctx context.Context) (*Record, error) {
	counts, err := r.Counts(ctx)
	if err != nil {
		return nil, err
	}
	record := &Record{Counts: *counts}
	for i := range counts.Delivered {
		err := r.ask(ctx, http.MethodGet, fmt.Sprintf("/answers?sequence=%d", i+1), func(body io.Reader) error {
			b, err := io.ReadAll(body)
			answers := make([]uint32, len(b)/4)
			for t := range answers {
				answers[t] = binary.LittleEndian.Uint32(b[4*t:])
			}
			record.Answers = append(record.Answers, answers)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return record, nil
}

// HangUp closes every connection to the sink.
func (r *Remote) HangUp(ctx context.Context) error {
	return r.ask(ctx, http.MethodPost, "/hangup", func(io.Reader) error { return nil })
}

func (r *Remote) ask(ctx context.Context, method, path string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.Control+path, nil)
	if err != nil {
		return fmt.Errorf("ask the sink: %w", err)
	}
	response, err := r.Client.Do(request)
	if err != nil {
		return fmt.Errorf("the sink does not answer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 512))
		return fmt.Errorf("the sink said %s: %s", response.Status, strings.TrimSpace(string(words)))
	}
	if err := read(response.Body); err != nil {
		return fmt.Errorf("the sink's answer to %s: %w", path, err)
	}
	return nil
}

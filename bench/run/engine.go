package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Engine is `tocsin serve` in a process of its own, and its API.
type Engine struct {
	*Process
	// Base is the URL of its API, without a slash at its end.
	Base string
	HTTP *http.Client
}

const (
	readyPatience = time.Minute
	stopPatience  = time.Minute
)

// StartEngine starts an engine that listens at an address, and waits until it is
// ready.
func StartEngine(ctx context.Context, c Command, address string, client *http.Client) (*Engine, error) {
	e := &Engine{Base: "http://" + address, HTTP: client}
	var err error
	if e.Process, err = Start(c); err != nil {
		return nil, err
	}
	if err := e.awaitReady(ctx); err != nil {
		e.Kill()
		return nil, err
	}
	return e, nil
}

func (e *Engine) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, fmt.Errorf("the engine was not ready within %v", readyPatience))
	defer cancel()
	for {
		err := e.Call(ctx, http.MethodGet, "/readyz", "", nil, nil)
		if err == nil {
			return nil
		}
		if dead := e.Died(); dead != nil {
			return dead
		}
		if Sleep(ctx, 20*time.Millisecond) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Shut ends the engine as an operator would; how it ended is part of what is tested.
func (e *Engine) Shut() error {
	e.HTTP.CloseIdleConnections()
	return e.Stop(stopPatience)
}

// Refusal is an answer that isn't 2xx.
type Refusal struct {
	Status int
	Words  string // the first 1024 bytes
	asked  string
}

// Error says what was asked and what the engine said.
func (r *Refusal) Error() string {
	return fmt.Sprintf("the engine answered %d to %s: %s", r.Status, r.asked, r.Words)
}

// Call asks the API. A contentType of "" says nothing of the body, which may be nil;
// answer is nil, what to decode JSON into, or a function that takes the body. An
// answer that isn't 2xx is a [*Refusal].
func (e *Engine) Call(ctx context.Context, method, path, contentType string, body io.Reader, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, e.Base+path, body)
	if err != nil {
		return fmt.Errorf("ask the engine: %w", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := e.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("ask the engine: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // what came of it is good enough
		return &Refusal{response.StatusCode, string(bytes.TrimSpace(words)), method + " " + path}
	}
	switch answer := answer.(type) {
	case nil:
		_, err = io.Copy(io.Discard, response.Body)
	case func(io.Reader) error:
		err = answer(response.Body)
	default:
		err = json.NewDecoder(response.Body).Decode(answer)
	}
	if err != nil {
		return fmt.Errorf("the engine's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// Import has the engine import n targets, a line of JSON each.
func (e *Engine) Import(ctx context.Context, n int, lines io.Reader) error {
	var answer struct {
		Accepted int               `json:"accepted"`
		Errors   []json.RawMessage `json:"errors"`
	}
	if err := e.Call(ctx, http.MethodPost, "/v1/targets/import", "application/x-ndjson", lines, &answer); err != nil {
		return err
	}
	if answer.Accepted != n {
		return fmt.Errorf("the engine took %d of %d targets; the first it refused: %s", answer.Accepted, n, append(answer.Errors, json.RawMessage("none"))[0])
	}
	return nil
}

// FreeAddresses finds loopback addresses that nobody listens on now.
func FreeAddresses(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // after the loop, or it would find the same one again
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// Sleep returns after d, or with ctx's error when that ends.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

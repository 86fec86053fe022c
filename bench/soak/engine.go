package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

// engine is `tocsin serve` in a process of its own, and its API.
type engine struct {
	*run.Process
	base, public string
	data         string
	http         *http.Client
}

const (
	readyPatience = time.Minute
	stopPatience  = time.Minute
	apiPatience   = 15 * time.Second
)

// startEngine runs an engine as anybody would. Its retries are short enough for
// faults of seconds, its timeouts are longer than the slowest receiver, and its rates
// are none of the world's: the load is what bounds it.
func (o *Options) startEngine(ctx context.Context, folder, queue string, c *crew) (_ *engine, err error) {
	listen, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	e := &engine{base: "http://" + listen[0], public: "http://" + listen[1], data: filepath.Join(folder, "data"),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	config := fmt.Sprintf(`listen: %s
public_listen: %s
data: %q
deployment: soak
egress: {allow: ["127.0.0.0/8:%d", "127.0.0.1/32:%d"], http: true}
retry: {base: 500ms, cap: 4s, expires_after: 1h}
webhook: {connect_timeout: 2s, timeout: 5s}
mail: {connect_timeout: 2s, timeout: 5s, final_timeout: 5s}
sms: {connect_timeout: 2s, response_timeout: 5s}
smtp: [{name: relay, url: %q, from: Status <status@status.example>, rate: 2000/s}]
smpp: [{name: centre, url: %q, source: STATUS, rate: 2000/s}]
budgets: {smpp: {per_incident: 0, per_target: 0, per_day: 0}}
`, listen[0], listen[1], e.data, c.webhooks.Port(), c.relay.Port(), c.relay.URL(), c.centre.URL())
	file := filepath.Join(folder, "tocsin.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("configuration of the engine: %w", err)
	}
	// The queue's URL holds a password: it is passed where ps doesn't show it.
	env := []string{"TOCSIN_QUEUE=" + queue}
	for _, entry := range o.Environ {
		if !strings.HasPrefix(entry, "TOCSIN_") {
			env = append(env, entry)
		}
	}
	e.Process, err = run.Start(run.Command{Name: "engine", Path: o.Tocsin, Args: []string{"serve", "--config", file}, Env: env, Logs: o.Folder})
	if err != nil {
		return nil, err
	}
	if err := e.awaitReady(ctx); err != nil {
		e.Kill()
		return nil, err
	}
	return e, nil
}

// freeAddresses finds loopback addresses that nobody listens on now.
func freeAddresses(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // after the loop, or it would find the same one again
		all = append(all, l.Addr().String())
	}
	return all, nil
}

func (e *engine) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, fmt.Errorf("the engine was not ready within %v", readyPatience))
	defer cancel()
	for {
		err := e.call(ctx, http.MethodGet, "/readyz", nil, nil)
		if err == nil {
			return nil
		}
		if dead := e.Died(); dead != nil {
			return dead
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// stop ends the engine as an operator would.
func (e *engine) stop() error {
	e.http.CloseIdleConnections()
	return e.Stop(stopPatience)
}

// refusal is an answer that isn't 2xx.
type refusal struct {
	status int
	words  string
}

// Error says what the engine said.
func (r *refusal) Error() string { return fmt.Sprintf("the engine answered %d: %s", r.status, r.words) }

// call asks the API within [apiPatience]. body is nil or JSON; answer is nil, what to
// decode JSON into, or a function that takes the body.
func (e *engine) call(ctx context.Context, method, path string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	return e.send(ctx, method, path, "application/json", bytes.NewReader(body), answer)
}

func (e *engine) send(ctx context.Context, method, path, contentType string, body io.Reader, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, e.base+path, body)
	if err != nil {
		return fmt.Errorf("ask the engine: %w", err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := e.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the engine: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // what came of it is good enough
		return &refusal{response.StatusCode, string(bytes.TrimSpace(words))}
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

// target is one as the API has it.
type target struct {
	ID          string `json:"id,omitempty"`
	ExternalID  string `json:"external_id,omitempty"`
	Channel     string `json:"channel"`
	Address     string `json:"address"`
	Page        string `json:"page"`
	EveryUpdate bool   `json:"every_update"`
}

// importTargets adds targets and returns them with their ids.
func (e *engine) importTargets(ctx context.Context, all []target) (imported []target, err error) {
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	for _, t := range all {
		if err := out.Encode(t); err != nil {
			return nil, fmt.Errorf("make a target: %w", err)
		}
	}
	var answer struct {
		Accepted int               `json:"accepted"`
		Errors   []json.RawMessage `json:"errors"`
	}
	if err := e.send(ctx, http.MethodPost, "/v1/targets/import", "application/x-ndjson", &lines, &answer); err != nil {
		return nil, err
	}
	if answer.Accepted != len(all) {
		return nil, fmt.Errorf("the engine took %d of %d targets; the first it refused: %s", answer.Accepted, len(all), append(answer.Errors, json.RawMessage("none"))[0])
	}
	err = pages(ctx, e, "/v1/targets?limit=1000", func(t target) { imported = append(imported, t) })
	return imported, err
}

// pages goes through a list of the API.
func pages[T any](ctx context.Context, e *engine, path string, take func(T)) error {
	for at := path; ; {
		var answer struct {
			Items []T             `json:"items"`
			Next  json.RawMessage `json:"next"`
		}
		if err := e.call(ctx, http.MethodGet, at, nil, &answer); err != nil {
			return err
		}
		for _, item := range answer.Items {
			take(item)
		}
		next, err := strconv.Unquote(string(answer.Next))
		if err != nil || next == "" { // null, or absent
			return nil
		}
		at = path + "&cursor=" + url.QueryEscape(next)
	}
}

// update is one as the API tells of it.
type update struct {
	Sequence  int                       `json:"sequence"`
	PlannedAt *time.Time                `json:"planned_at"`
	Progress  map[string]map[string]int `json:"progress"`
}

// updates asks for an incident. It counts rows of the ledger.
func (e *engine) updates(ctx context.Context, id string) ([]update, error) {
	var view struct {
		Updates []update `json:"updates"`
	}
	err := e.call(ctx, http.MethodGet, "/v1/incidents/"+id+"?page="+page, nil, &view)
	if refused, ok := errors.AsType[*refusal](err); ok && refused.status == http.StatusNotFound {
		return nil, nil // not accepted yet
	}
	return view.Updates, err
}

// row is one of the ledger.
type row struct {
	Target   string `json:"target"`
	Channel  string `json:"channel"`
	Sequence int    `json:"sequence"`
	Outcome  string `json:"outcome"`
	Detail   string `json:"detail"`
}

func (e *engine) rows(ctx context.Context, id string) (all []row, err error) {
	err = pages(ctx, e, "/v1/incidents/"+id+"/deliveries?limit=1000&page="+page, func(r row) { all = append(all, r) })
	return all, err
}

// metrics returns the sum of each metric over its labels.
func (e *engine) metrics(ctx context.Context) (map[string]float64, error) {
	sums := make(map[string]float64)
	err := e.call(ctx, http.MethodGet, "/metrics", nil, func(body io.Reader) error { return addMetrics(sums, body) })
	return sums, err
}

func addMetrics(sums map[string]float64, body io.Reader) error {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, text, ok := cutLast(lines.Text(), ' ')
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			sums[name] += value
		}
	}
	return lines.Err()
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

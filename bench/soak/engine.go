package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	*run.Engine
	public, data string
}

// apiPatience bounds a question to the API.
const apiPatience = 15 * time.Second

// startEngine runs an engine as anybody would. Its retries are short enough for
// faults of seconds, its idle connections end within a rest, its timeouts are longer than the slowest receiver, and its rates
// are none of the world's: the load is what bounds it.
func (o *Options) startEngine(ctx context.Context, folder, queue string, c *crew) (_ *engine, err error) {
	listen, err := run.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	e := &engine{public: "http://" + listen[1], data: filepath.Join(folder, "data")}
	config := fmt.Sprintf(`listen: %s
public_listen: %s
data: %q
deployment: soak
egress: {allow: ["127.0.0.0/8:%d", "127.0.0.1/32:%d"], http: true, idle_time: 5s}
retry: {base: 500ms, cap: 4s, expires_after: 1h}
webhook: {connect_timeout: 2s, timeout: 5s}
mail: {connect_timeout: 2s, timeout: 5s, final_timeout: 5s}
sms: {connect_timeout: 2s, response_timeout: 5s}
smtp: [{name: relay, url: %q, from: Status <status@status.example>, rate: 2000/s}]
smpp: [{name: centre, url: %q, source: STATUS, rate: 2000/s}]
budgets: {smpp: {per_incident: 0, per_day: 0}}
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
	e.Engine, err = run.StartEngine(ctx, run.Command{Name: "engine", Path: o.Tocsin, Args: []string{"serve", "--config", file}, Env: env, Logs: o.Folder},
		listen[0], &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}})
	return e, err
}

// call asks the API within [apiPatience]. body is nil or JSON; answer is as
// [run.Engine.Call] has it.
func (e *engine) call(ctx context.Context, method, path string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	return e.Call(ctx, method, path, "application/json", bytes.NewReader(body), answer)
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
	if err := e.Import(ctx, len(all), &lines); err != nil {
		return nil, err
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
	if refused, ok := errors.AsType[*run.Refusal](err); ok && refused.Status == http.StatusNotFound {
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

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// api talks to an engine that may be dead at any moment: nothing is kept between
// two calls.
type api struct {
	base string
	http http.Client
}

func newAPI(address string) *api {
	return &api{base: "http://" + address, http: http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// call makes one request; what is answered other than 2xx is an error.
func (a *api) call(ctx context.Context, method, path, contentType string, body io.Reader, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := a.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

func (a *api) get(ctx context.Context, path string, into any) error {
	return a.call(ctx, http.MethodGet, path, "", nil, into)
}

func (a *api) ready(ctx context.Context) (bool, error) {
	err := a.get(ctx, "/readyz", nil)
	return err == nil, err
}

// metric reads one series; 0 if it is not there yet.
func (a *api) metric(ctx context.Context, series string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("metrics: %s %w", response.Status, err)
	}
	for line := range strings.Lines(string(page)) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, nil
}

// publish repeats an update until it is accepted.
func (a *api) publish(ctx context.Context, u *update) error {
	return insist(ctx, func(ctx context.Context) error {
		return a.call(ctx, http.MethodPost, "/v1/incidents", "application/json", bytes.NewReader(u.body), nil)
	})
}

// insist repeats a try until it succeeds. ctx's end is an error with the last
// try's.
func insist(ctx context.Context, try func(context.Context) error) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// importTargets imports NDJSON lines; all count targets must be taken.
func (a *api) importTargets(ctx context.Context, lines io.Reader, count int) error {
	var answer struct{ Accepted int }
	err := a.call(ctx, http.MethodPost, "/v1/targets/import", "application/x-ndjson", lines, &answer)
	if err == nil && answer.Accepted != count {
		err = fmt.Errorf("%d of %d targets were imported", answer.Accepted, count)
	}
	return err
}

// updateView is an update as the engine tells of it.
type updateView struct {
	Sequence  int                       `json:"sequence"`
	UpdateID  string                    `json:"update_id"`
	PlannedAt *time.Time                `json:"planned_at"`
	Audience  int                       `json:"audience"`
	Progress  map[string]map[string]int `json:"progress"`
}

func (a *api) incident(ctx context.Context, id string) (updates []updateView, err error) {
	var view struct{ Updates []updateView }
	err = a.get(ctx, "/v1/incidents/"+url.PathEscape(id), &view)
	return view.Updates, err
}

// row is a row of the ledger.
type row struct {
	Target   int64  `json:"target,string"`
	Sequence int    `json:"sequence"`
	Outcome  string `json:"outcome"`
}

func (a *api) deliveries(ctx context.Context, id string) ([]row, error) {
	return list[row](ctx, a, "/v1/incidents/"+url.PathEscape(id)+"/deliveries")
}

// targetView is a target as listed.
type targetView struct {
	ID      int64  `json:"id,string"`
	Address string `json:"address"`
}

func (a *api) targets(ctx context.Context) ([]targetView, error) {
	return list[targetView](ctx, a, "/v1/targets")
}

// list goes through all pages of a list.
func list[T any](ctx context.Context, a *api, path string) (all []T, err error) {
	query := url.Values{"limit": {"1000"}}
	for {
		var page struct {
			Items []T
			Next  *string
		}
		if err := a.get(ctx, path+"?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == nil {
			return all, nil
		}
		query.Set("cursor", *page.Next)
	}
}

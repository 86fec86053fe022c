package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// apiFlag says where the engine is, for commands that talk to its API.
type apiFlag struct {
	API string `name:"api" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The engine's API (http://127.0.0.1:8080). With a token set there, put the same into TOCSIN_TOKEN."`
}

// client talks to an engine's HTTP API. Its errors are sentences; an engine that
// can't be reached or can't take anything now gives exit code 3.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

func newClient(base string, p *program) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, usageError(errors.New("the engine's address must be a URL such as http://127.0.0.1:8080, without user and password"))
	}
	token, _ := p.lookup("TOCSIN_TOKEN")
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second,
	}
	return &client{base: u, token: token, http: &http.Client{Transport: transport}}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// published is the answer to an event.
type published struct {
	Page       string `json:"page"`
	IncidentID string `json:"incident_id"`
	UpdateID   string `json:"update_id"`
	Duplicate  bool   `json:"duplicate"`
}

// publish sends an event and returns once the engine has it durably.
func (c *client) publish(ctx context.Context, event []byte) (*published, error) {
	var answer published
	err := c.call(ctx, http.MethodPost, "/v1/incidents", nil, "application/json", bytes.NewReader(event), &answer)
	return &answer, err
}

// incidentView is an incident with its updates, newest first.
type incidentView struct {
	// Stopped is set if an operator ended the fan-out: there are no more plans.
	Stopped    bool         `json:"stopped"`
	Impact     string       `json:"impact"`
	Components []string     `json:"components"`
	Updates    []updateView `json:"updates"`
}

type updateView struct {
	// Sequence is 0 for an update that came too late and was not sent.
	Sequence  int        `json:"sequence"`
	UpdateID  string     `json:"update_id"`
	Status    string     `json:"status"`
	Title     string     `json:"title"`
	Message   string     `json:"message"`
	PlannedAt *time.Time `json:"planned_at"`
	Audience  int        `json:"audience"`
	// Progress counts deliveries by channel and outcome.
	Progress map[string]map[string]int `json:"progress"`
}

// outcomes sums the progress up over all channels.
func (u *updateView) outcomes() map[string]int {
	sum := make(map[string]int)
	for _, channel := range u.Progress {
		for outcome, n := range channel {
			sum[outcome] += n
		}
	}
	return sum
}

// closed counts the deliveries that ended; done says that all did.
func (u *updateView) closed() (closed int, done bool) {
	for outcome, n := range u.outcomes() {
		if outcome != "open" {
			closed += n
		}
	}
	return closed, u.PlannedAt != nil && !u.PlannedAt.IsZero() && closed >= u.Audience
}

// update returns the update of that id, nil if there is none yet.
func (v *incidentView) update(id string) *updateView {
	for i := range v.Updates {
		if v.Updates[i].UpdateID == id {
			return &v.Updates[i]
		}
	}
	return nil
}

// latest returns the newest update that was sent, nil if there is none.
func (v *incidentView) latest() *updateView {
	for i := range v.Updates {
		if v.Updates[i].Sequence > 0 {
			return &v.Updates[i]
		}
	}
	return nil
}

// says reports whether the incident says already what e does, as far as can be seen
// from here.
func (v *incidentView) says(e *incident.Event) bool {
	u := v.latest()
	return u != nil && u.Status == string(e.Status) && u.Title == e.Title && u.Message == e.Message && v.Impact == string(e.Impact) &&
		slices.Equal(slices.Sorted(slices.Values(v.Components)), slices.Sorted(slices.Values(e.AffectedComponents)))
}

// incident asks for an incident; nil if the engine doesn't know it yet.
func (c *client) incident(ctx context.Context, page, id string) (*incidentView, error) {
	var view incidentView
	err := c.call(ctx, http.MethodGet, "/v1/incidents/"+url.PathEscape(id), url.Values{"page": {page}}, "", nil, &view)
	if p, ok := errors.AsType[*problem](err); ok && p.Status == http.StatusNotFound {
		return nil, nil
	}
	return &view, err
}

// deliveryView is a row of the ledger.
type deliveryView struct {
	Target   idText `json:"target"`
	Channel  string `json:"channel"`
	Sequence int    `json:"sequence"`
	Outcome  string `json:"outcome"`
	// Attempt counts the attempts so far; Class and Detail say what came of the
	// last one.
	Attempt int        `json:"attempt"`
	Class   string     `json:"class"`
	Detail  string     `json:"detail"`
	DueAt   *time.Time `json:"due_at"`
	SentAt  *time.Time `json:"sent_at"`
	DoneAt  *time.Time `json:"done_at"`
}

func (c *client) deliveries(ctx context.Context, page, id string) iter.Seq2[deliveryView, error] {
	return list[deliveryView](ctx, c, "/v1/incidents/"+url.PathEscape(id)+"/deliveries", url.Values{"page": {page}})
}

// targetView is a target as listed.
type targetView struct {
	ID         idText   `json:"id"`
	ExternalID string   `json:"external_id"`
	Channel    string   `json:"channel"`
	Address    string   `json:"address"`
	Page       string   `json:"page"`
	Components []string `json:"components"`
	MinImpact  string   `json:"min_impact"`
	State      string   `json:"state"`
}

func (c *client) targets(ctx context.Context) iter.Seq2[json.RawMessage, error] {
	return list[json.RawMessage](ctx, c, "/v1/targets", url.Values{})
}

// imported is what became of the lines of an import.
type imported struct {
	Accepted int `json:"accepted"`
	Rejected int `json:"rejected"`
	Errors   []struct {
		Line   int    `json:"line"`
		Field  string `json:"field"`
		Reason string `json:"reason"`
	} `json:"errors"`
}

// importTargets streams targets to the engine.
func (c *client) importTargets(ctx context.Context, contentType string, lines io.Reader) (*imported, error) {
	var answer imported
	err := c.call(ctx, http.MethodPost, "/v1/targets/import", nil, contentType, lines, &answer)
	return &answer, err
}

// ready reports whether the engine says that it can work, as an error if not.
func (c *client) ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/readyz", nil, "", nil, &struct{}{})
}

// list goes through all pages of a list.
func list[T any](ctx context.Context, c *client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query.Set("limit", "1000")
		for {
			var page struct {
				Items []T    `json:"items"`
				Next  idText `json:"next"`
			}
			if err := c.call(ctx, http.MethodGet, path, query, "", nil, &page); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("cursor", string(page.Next))
		}
	}
}

// idText is an id or a cursor: a JSON string, a number, or null for "".
type idText string

// UnmarshalJSON takes any of the three.
func (t *idText) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	if *t = idText(b); *t == "null" {
		*t = ""
	}
	return nil
}

// problem is a refusal by the engine (RFC 9457).
type problem struct {
	Status     int    `json:"-"`
	Title      string `json:"title"`
	Detail     string `json:"detail"`
	Field      string `json:"field"`
	retryAfter string
}

func (p *problem) Error() string {
	text := cmp.Or(p.Detail, p.Title, http.StatusText(p.Status), "HTTP status "+strconv.Itoa(p.Status))
	if p.Field != "" && !strings.HasPrefix(text, p.Field) {
		text = p.Field + ": " + text
	}
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "the engine wants a token: set TOCSIN_TOKEN to one of its tokens (" + text + ")"
	case http.StatusServiceUnavailable:
		if p.retryAfter != "" {
			text += "; try again in " + p.retryAfter + " s"
		}
		return "the engine can't take this now: " + text
	}
	return "the engine refused: " + text
}

// maxProblemBytes bounds what is read of a refusal.
const maxProblemBytes = 64 << 10

// call makes one request and decodes its JSON answer. The body is sent as it is
// read, and not sent again.
func (c *client) call(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader, into any) error {
	response, err := c.do(ctx, method, path, query, contentType, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return fmt.Errorf("the answer of %s can't be read; is it a Tocsin engine of this version? %w", c.base.Host, err)
	}
	return nil
}

// do makes one request; the caller closes the body of the answer, which is no refusal.
func (c *client) do(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader) (*http.Response, error) {
	address := strings.TrimRight(c.base.String(), "/") + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		return nil, refusal(response)
	}
	return response, nil
}

func (c *client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the URL is named already
	}
	return unavailableError(fmt.Errorf("no engine answers at %s; start one with tocsin serve, or name another (%w)", c.base, err))
}

func refusal(response *http.Response) error {
	p := &problem{Status: response.StatusCode, retryAfter: response.Header.Get("Retry-After")}
	if b, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes)); err == nil {
		_ = json.Unmarshal(b, p) // what is no JSON has its status alone
	}
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return usageError(p)
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return unavailableError(p)
	}
	return p
}

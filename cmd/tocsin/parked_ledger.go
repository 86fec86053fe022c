package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/config"
)

// parkedView is a delivery that the engine gave up.
type parkedView struct {
	Page       string    `json:"page"`
	IncidentID string    `json:"incident_id"`
	Target     idText    `json:"target"`
	Channel    string    `json:"channel"`
	Sequence   int       `json:"sequence"`
	Detail     string    `json:"detail"`
	ParkedAt   time.Time `json:"parked_at"`
}

// lookInLedger asks the engine of the configuration.
func (f *parkedFlags) lookInLedger(ctx context.Context, p *program, cfg *config.Config, see func(context.Context, *parked) (stop bool, err error)) (stop bool, err error) {
	engine, err := newClient(cmp.Or(f.API, apiOf(cfg.Listen)), p)
	if err != nil {
		return true, err
	}
	defer engine.close()
	if engine.token == "" && len(cfg.Tokens) > 0 {
		engine.token = cfg.Tokens[0]
	}
	for d, err := range list[parkedView](ctx, engine, "/v1/parked", url.Values{}) {
		if err != nil {
			return true, err
		}
		if stop, err := see(ctx, parkedDelivery(engine, &d)); stop || err != nil {
			return true, err
		}
	}
	return false, nil
}

// apiOf is the address at which this machine reaches an engine that listens there.
func apiOf(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		listen = net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + listen
}

func parkedDelivery(engine *client, d *parkedView) *parked {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", d.Page, d.IncidentID, d.Target, d.Sequence))
	what := fmt.Sprintf("delivery of %s, sequence %d, to target %s", d.IncidentID, d.Sequence, d.Target)
	return &parked{
		id: hex.EncodeToString(sum[:6]), from: d.Channel, why: "died", at: d.ParkedAt, what: what,
		show: func(w io.Writer) { fmt.Fprintf(w, "%s, page %s\n%s\n", what, d.Page, d.Detail) },
		back: func(ctx context.Context) error { return engine.resendParked(ctx, d) },
	}
}

// resendParked has it sent again, if its update is still the newest.
func (c *client) resendParked(ctx context.Context, d *parkedView) error {
	body, err := json.Marshal(map[string]any{"targets": []string{string(d.Target)}, "sequence": d.Sequence})
	if err != nil {
		return err
	}
	var r resendView
	path := "/v1/incidents/" + url.PathEscape(d.IncidentID) + "/resend"
	if err := c.call(ctx, http.MethodPost, path, url.Values{"page": {d.Page}}, "application/json", bytes.NewReader(body), &r); err != nil {
		return err
	}
	if r.Resent == 0 && r.UnderWay == 0 {
		return errors.New("it stays untold: " + cmp.Or(strings.Join(slices.Sorted(maps.Keys(r.Untold)), ", "), r.Ended, "the engine doesn't have it"))
	}
	return nil
}

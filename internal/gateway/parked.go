package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/internal/store"
)

// parkedJSON is a delivery that was given up because processes died of it.
type parkedJSON struct {
	Page       string     `json:"page"`
	IncidentID string     `json:"incident_id"`
	Target     string     `json:"target"`
	Channel    string     `json:"channel"`
	Sequence   int        `json:"sequence"`
	Detail     string     `json:"detail"`
	ParkedAt   *time.Time `json:"parked_at"`
}

// listParked has one page: where there are more, something is wrong with everything.
func (g *gateway) listParked(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r, maxLimit)
	if err != nil {
		return err
	}
	found, err := g.History.Parked(r.Context(), limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, mapped(listing[store.Parked]{Items: found}, func(p *store.Parked) parkedJSON {
		return parkedJSON{Page: p.Page, IncidentID: p.IncidentID, Target: strconv.FormatInt(p.Target, 10), Channel: p.Channel,
			Sequence: p.Sequence, Detail: p.Detail, ParkedAt: moment(p.At)}
	}))
}

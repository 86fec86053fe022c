package gateway

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// audienceJSON says who would be told, and of what.
type audienceJSON struct {
	Page       string              `json:"page"`
	Components []string            `json:"components"`
	Impact     incident.Impact     `json:"impact"`
	Visibility incident.Visibility `json:"visibility"`
	Test       bool                `json:"test"`
	Total      int                 `json:"total"`
	Channels   map[string]int      `json:"channels"`
}

// getAudience counts whom the first update of such an incident would be planned
// for. Without an impact the highest is meant, so that a page alone asks for all
// who could be told of it.
func (g *gateway) getAudience(w http.ResponseWriter, r *http.Request) error {
	q := store.AudienceQuery{
		Page: pageName(r), Components: commaList(r, "components"),
		Impact:     incident.Impact(cmp.Or(param(r, "impact"), string(incident.ImpactCritical))),
		Visibility: incident.Visibility(cmp.Or(param(r, "visibility"), string(incident.Public))),
	}
	if !q.Impact.Valid() {
		return refuseField("impact", "must be none, minor, major, critical or maintenance")
	}
	if !q.Visibility.Valid() {
		return refuseField("visibility", "must be public or private")
	}
	switch param(r, "test") {
	case "", "false":
	case "true":
		q.Test = true
	default:
		return refuseField("test", "must be true or false")
	}
	counts, err := g.History.AudienceCount(r.Context(), q)
	if err != nil {
		return err
	}
	answer := audienceJSON{Page: q.Page, Components: q.Components, Impact: q.Impact, Visibility: q.Visibility, Test: q.Test, Channels: counts}
	for _, n := range counts {
		answer.Total += n
	}
	return writeJSON(w, http.StatusOK, answer)
}

// commaList reads a parameter that may be given several times, each with entries
// separated by commas. It is not nil.
func commaList(r *http.Request, name string) []string {
	list := []string{}
	for _, text := range r.URL.Query()[name] {
		for entry := range strings.SplitSeq(text, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				list = append(list, entry)
			}
		}
	}
	return list
}

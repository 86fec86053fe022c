package gateway

import (
	"net/http"
	"strconv"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// maxTargetBytes bounds the JSON of one target.
const maxTargetBytes = 256 << 10

var errIDGiven = &incident.Invalid{Field: "id",
	Reason: "must be absent, since the engine assigns it; use external_id to name a target yourself"}

// newTarget decodes and checks a target that is to be added.
func (g *gateway) newTarget(body []byte) (*incident.Target, error) {
	t, err := incident.DecodeTarget(body)
	if err != nil {
		return nil, err
	}
	if t.ID != 0 {
		return nil, errIDGiven
	}
	return t, g.CheckTarget(t)
}

func targetURL(id int64) string { return "/v1/targets/" + strconv.FormatInt(id, 10) }

func (g *gateway) postTarget(w http.ResponseWriter, r *http.Request) error {
	body, err := g.readBody(w, r, maxTargetBytes)
	if err != nil {
		return err
	}
	t, err := g.newTarget(body)
	if err != nil {
		return err
	}
	done, err := g.Targets.Upsert(r.Context(), []*incident.Target{t})
	if err != nil {
		return err
	}
	t.ID = done[0].ID
	g.tellChanged(done)
	w.Header().Set("Location", targetURL(t.ID))
	if done[0].Existed {
		return writeJSON(w, http.StatusOK, t)
	}
	return writeJSON(w, http.StatusCreated, t)
}

// tellChanged has the engine look again at what it holds for targets that were
// there before. If the process dies first, claims see the change in the store.
func (g *gateway) tellChanged(done []store.Upserted) {
	var ids []int64
	for _, u := range done {
		if u.Existed && u.Changed {
			ids = append(ids, u.ID)
		}
	}
	if len(ids) > 0 {
		g.Engine.TargetsChanged(ids)
	}
}

func (g *gateway) getTarget(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r.PathValue("id"))
	if err != nil {
		return err
	}
	t, err := g.Targets.Target(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

func (g *gateway) patchTarget(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r.PathValue("id"))
	if err != nil {
		return err
	}
	body, err := g.readBody(w, r, maxTargetBytes)
	if err != nil {
		return err
	}
	t, err := g.Targets.Patch(r.Context(), id, func(t *incident.Target) error {
		patched, err := t.Patch(body)
		if err != nil {
			return err
		}
		if patched.ID != t.ID {
			return &incident.Invalid{Field: "id", Reason: "can't be changed"}
		}
		// Only a new address is checked: a target that the rules no longer
		// allow can still be paused.
		if patched.Channel != t.Channel || patched.Address != t.Address {
			if err := g.CheckTarget(patched); err != nil {
				return err
			}
		}
		*t = *patched
		return nil
	}, g.askedBy(r, "an operator: target "+strconv.FormatInt(id, 10)))
	if err != nil {
		return err
	}
	g.Engine.TargetsChanged([]int64{id})
	return writeJSON(w, http.StatusOK, t)
}

func (g *gateway) deleteTarget(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := g.Targets.Delete(r.Context(), id, g.askedBy(r, "an operator: target "+strconv.FormatInt(id, 10))); err != nil {
		return err
	}
	g.Engine.TargetsChanged([]int64{id})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *gateway) listTargets(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r, 500)
	if err != nil {
		return err
	}
	after, _, err := cursorOf(r, "t", 1)
	if err != nil {
		return err
	}
	found, err := g.Targets.ListTargets(r.Context(), after[0], limit+1)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, pageOf(found, limit, func(last *incident.Target) string { return encodeCursor("t", last.ID) }))
}

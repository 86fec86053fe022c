package gateway

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

// providersJSON is what this worker delivers to and how that goes.
type providersJSON struct {
	// Paused says that everything is.
	Paused bool `json:"paused"`
	// Holding counts the deliveries in the worker, InFlight those being sent,
	// Blocked those that their provider keeps from starting.
	Holding  int            `json:"holding"`
	InFlight int            `json:"in_flight"`
	Blocked  int            `json:"blocked"`
	Items    []providerJSON `json:"items"`
	// AlsoPaused names paused providers that no item is for: webhook hosts, and
	// what is configured no more.
	AlsoPaused []string `json:"also_paused"`
}

// providerJSON is a named provider, or a pool of hosts that have the same limits
// each.
type providerJSON struct {
	Name    string     `json:"name"`
	Group   string     `json:"group"`
	Channel string     `json:"channel"`
	Pool    bool       `json:"pool"`
	Paused  bool       `json:"paused"`
	Limits  limitsJSON `json:"limits"`
	// Lanes counts the group's lanes by what keeps them from starting.
	Lanes    map[string]int `json:"lanes"`
	Waiting  int            `json:"waiting"`
	InFlight int            `json:"in_flight"`
	// State, Tokens and Breaker are null for a pool, which has one of each for
	// every host.
	State   *string  `json:"state"`
	Tokens  *float64 `json:"tokens"`
	Breaker *string  `json:"breaker"`
}

type limitsJSON struct {
	PerSecond float64 `json:"per_second"`
	Burst     int     `json:"burst"`
	Window    int     `json:"window"`
}

func (g *gateway) getProviders(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, g.newProvidersJSON())
}

func (g *gateway) newProvidersJSON() providersJSON {
	now, paused := g.Engine.Snapshot(), g.Engine.Paused()
	answer := providersJSON{
		Paused: slices.Contains(paused, ""), Holding: now.Holding, InFlight: now.InFlight, Blocked: now.Blocked,
		Items: []providerJSON{}, AlsoPaused: []string{},
	}
	for _, group := range g.Groups {
		answer.Items = append(answer.Items, g.newProviderJSON(group, now, paused))
	}
	for _, name := range paused {
		if name != "" && !g.named(name) {
			answer.AlsoPaused = append(answer.AlsoPaused, name)
		}
	}
	return answer
}

func (g *gateway) newProviderJSON(group dispatcher.Group, now *dispatcher.Snapshot, paused []string) providerJSON {
	policy, figures := g.Policy(group.Name, group.Provider), now.Groups[group.Name]
	channel, _, _ := strings.Cut(group.Name, ":")
	p := providerJSON{
		Name: cmp.Or(group.Provider, group.Name), Group: group.Name, Channel: channel, Pool: group.Provider == "",
		Paused: isPaused(paused, group.Provider),
		Limits: limitsJSON{policy.Limit.PerSecond, policy.Limit.Burst, policy.Window},
		Lanes:  map[string]int{}, Waiting: figures.Waiting, InFlight: figures.InFlight,
	}
	for state, n := range figures.Lanes {
		if n > 0 {
			p.Lanes[state] = n
		}
	}
	if p.Pool {
		return p
	}
	lane, ok := now.Providers[group.Provider]
	if !ok || lane.Group != group.Name { // nothing was sent yet
		lane = dispatcher.ProviderSnapshot{State: "idle", Tokens: float64(policy.Limit.Burst), Breaker: "closed"}
	}
	p.State, p.Tokens, p.Breaker = &lane.State, &lane.Tokens, &lane.Breaker
	return p
}

func isPaused(paused []string, provider string) bool {
	return slices.Contains(paused, "") || provider != "" && slices.Contains(paused, provider)
}

// named says whether a provider of this name is configured.
func (g *gateway) named(name string) bool {
	return slices.ContainsFunc(g.Groups, func(group dispatcher.Group) bool { return group.Provider != "" && group.Provider == name })
}

// providerOf resolves what an operator calls a provider: its name, its group's, or
// host:port of a webhook.
func (g *gateway) providerOf(name string) (string, error) {
	for _, group := range g.Groups {
		switch {
		case group.Provider != "" && (name == group.Provider || name == group.Name):
			return group.Provider, nil
		case name == group.Name:
			return "", refuse(http.StatusNotFound, "this is a pool of many providers; name one as host:port, or pause everything")
		}
	}
	if slices.Contains(g.Engine.Paused(), name) { // and configured no more
		return name, nil
	}
	if host := g.WebhookProvider(name); host != "" {
		return host, nil
	}
	return "", refuse(http.StatusNotFound, "there is no provider by this name; GET /v1/providers has them, a webhook's is host:port")
}

// pauseJSON says whether a provider, null for all, is paused now.
type pauseJSON struct {
	Provider *string `json:"provider"`
	Paused   bool    `json:"paused"`
}

// steer pauses or resumes the provider in the path, or, if there is none in it,
// everything. It is durable when it is answered.
func (g *gateway) steer(pause bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var answer pauseJSON
		var provider string
		if name := r.PathValue("name"); name != "" {
			var err error
			if provider, err = g.providerOf(name); err != nil {
				return err
			}
			answer.Provider = &provider
		}
		change := g.Engine.Resume
		if pause {
			change = g.Engine.Pause
		}
		if err := change(r.Context(), provider, g.askedBy(r, "an operator: "+g.steered(provider))); err != nil {
			return err
		}
		answer.Paused = isPaused(g.Engine.Paused(), provider)
		g.logSteered(provider, pause)
		return writeJSON(w, http.StatusOK, answer)
	}
}

func (g *gateway) logSteered(provider string, pause bool) {
	g.Log.Info("an operator paused or resumed sending", "what", g.steered(provider), "pause", pause)
}

// steered names configured providers alone: a webhook's host is its owner's.
func (g *gateway) steered(provider string) string {
	switch {
	case g.named(provider):
		return provider
	case provider != "":
		return "one provider"
	}
	return "everything"
}

type queueJSON struct {
	Queue    string     `json:"queue"`
	Ready    int        `json:"ready"`
	Held     int        `json:"held"`
	OldestAt *time.Time `json:"oldest_at"`
}

func (g *gateway) getQueues(w http.ResponseWriter, r *http.Request) error {
	depths, err := g.Depths(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": newQueuesJSON(depths)})
}

func newQueuesJSON(depths []queue.Depth) []queueJSON {
	items := make([]queueJSON, len(depths))
	for i, d := range depths {
		items[i] = queueJSON{d.Queue, d.Ready, d.Held, moment(d.Oldest)}
	}
	return items
}

package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/caller"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/queue"
)

// Intake takes events: what Offer returned nil for is durable. It returns an
// error that wraps [queue.ErrUnavailable] when it can't take any now.
type Intake interface {
	Offer(ctx context.Context, e *queue.Event) error
}

// Lifecycle takes what senders say in their own words.
type Lifecycle interface {
	// Recall answers a body, by its digest, if it is the last one of all its groups:
	// then it says nothing new.
	Recall(digest [32]byte) ([]lifecycle.Answer, bool)
	// Report takes checked reports and returns once what they lead to is durable;
	// len(answers) == len(reports).
	Report(ctx context.Context, digest [32]byte, reports []*lifecycle.Report) ([]lifecycle.Answer, error)
	// Order does what a checked order asks for, durably, or refuses it with an
	// [*incident.Invalid] or a [*lifecycle.Refused].
	Order(ctx context.Context, o *lifecycle.Order) (*lifecycle.Obeyed, error)
	// Pending is what waits for its time, of an incident, earliest first.
	Pending(ctx context.Context, page, incidentID string) ([]lifecycle.Pending, error)
}

// Probes takes the results of probes and knows the health of services.
type Probes interface {
	// Take folds the results in a body of JSON, and counts those that were ignored
	// as late or repeated; its error is an [*incident.Invalid].
	Take(body []byte) (accepted, ignored int, err error)
	// Services are all that were probed, by name.
	Services() []probe.Seen
	// Forget ends the watch over one, and what is told of it; the answer names its
	// incident. The error wraps [store.ErrNotFound] where there is none.
	Forget(ctx context.Context, service string, audit ...store.AuditEntry) (lifecycle.Answer, error)
}

// Targets keeps targets, as [store.Targets] says.
type Targets interface {
	Upsert(ctx context.Context, targets []*incident.Target) ([]store.Upserted, error)
	Target(ctx context.Context, id int64) (*incident.Target, error)
	ListTargets(ctx context.Context, after int64, limit int) ([]*incident.Target, error)
	Patch(ctx context.Context, id int64, change func(*incident.Target) error, asked ...dispatcher.Asked) (*incident.Target, error)
	Delete(ctx context.Context, id int64, asked ...dispatcher.Asked) error
}

// History answers questions about incidents, as [store.History] says.
type History interface {
	Incidents(ctx context.Context, page string, status incident.Status, before int64, limit int) ([]store.Incident, error)
	Incident(ctx context.Context, page, incidentID string) (*store.Incident, []store.Update, error)
	FindIncident(ctx context.Context, page, incidentID string) (*store.Incident, error)
	Resends(ctx context.Context, incident int64, limit int) ([]dispatcher.Resent, error)
	Deliveries(ctx context.Context, incident int64, f store.DeliveryFilter) ([]store.Delivery, error)
	Parked(ctx context.Context, limit int) ([]store.Parked, error)
	KnownUpdate(ctx context.Context, page, incidentID, updateID string) (bool, error)
	AudienceCount(ctx context.Context, q store.AudienceQuery) (map[string]int, error)
}

// Engine is told of what changes its work, and says how that goes.
type Engine interface {
	// TargetsChanged is called after the change of existing targets is
	// committed; it does not block.
	TargetsChanged(ids []int64)
	// Stop ends the fan-out of an incident, named by the store's key, and
	// returns once that is durable.
	Stop(ctx context.Context, incident int64, asked ...dispatcher.Asked) error
	// Resend has deliveries sent again and returns once that is durable, or a
	// [*dispatcher.ResendRefused].
	Resend(ctx context.Context, r dispatcher.Resend) (*dispatcher.Resent, error)
	// Pause stops sending to a provider, to all for "", until Resume; both
	// return once that is durable.
	Pause(ctx context.Context, provider string, asked ...dispatcher.Asked) error
	Resume(ctx context.Context, provider string, asked ...dispatcher.Asked) error
	// Paused lists what is paused, "" for all.
	Paused() []string
	// Snapshot is not changed by anyone.
	Snapshot() *dispatcher.Snapshot
}

// Meter counts events that were turned away here, as "invalid" or "unavailable";
// the others are counted by the acceptor.
type Meter interface {
	EventRefused(source, reason string)
}

// Deps are what the gateway works with; all but Callers, PageOf, PublicOf and Own are
// needed.
type Deps struct {
	Intake    Intake
	Lifecycle Lifecycle
	// Alerts reads a notification of Alertmanager or Grafana, without reports where
	// that is only a test; its error is an [*incident.Invalid].
	Alerts func(body []byte) ([]*lifecycle.Report, error)
	// PageOf returns the page of what a source sends that names none itself; it is
	// asked for "" where the sender is no source.
	PageOf func(source string) string
	// PublicOf returns the names of those custom_details of a source's events for
	// PagerDuty that everyone may know; it is asked as PageOf is.
	PublicOf func(source string) []string
	// Own are the sources that have a route of their own, by their names.
	Own     map[string]senders.Own
	Probes  Probes
	Targets Targets
	History History
	Audit   Audit
	Engine  Engine
	Meter   Meter
	// CheckTarget refuses, with an [*incident.Invalid], a target whose address
	// may not be dialled or that no configured provider serves. It is quick
	// and pure: no name is resolved.
	CheckTarget func(*incident.Target) error
	// Callers lets the sources of the intake's routes in, which need no token then;
	// nil knows none.
	Callers *caller.Guard
	// CheckCallback refuses, with an [*incident.Invalid], a URL that a producer
	// can't be called back at; it is as quick and pure.
	CheckCallback func(incident.CallbackURL) error
	// Groups are the queues of the configured providers and pools; Policy says
	// what the limits of a provider are, of each provider of a pool for "".
	Groups []dispatcher.Group
	Policy func(group, provider string) dispatcher.ProviderPolicy
	// WebhookProvider returns the name of the webhook provider at host:port, ""
	// if there can't be one.
	WebhookProvider func(hostport string) string
	// Depths measures the queues.
	Depths func(ctx context.Context) ([]queue.Depth, error)
	// Ready reports each part the engine needs as "ok" or as the reason why
	// it is not.
	Ready func(ctx context.Context) map[string]string
	// Ended counts the deliveries that ended since the process began, by channel
	// and outcome; Connections are the outbound ones there are, and may be. Both
	// answer at once.
	Ended       func() map[string]map[dispatcher.Outcome]int
	Connections func() (used, budget int)
	// Metrics serves /metrics.
	Metrics http.Handler
	Log     *slog.Logger
}

// Options are settings of the gateway.
type Options struct {
	// Tokens are the bearer tokens (RFC 6750); with none, nothing is asked
	// for, and only loopback names are answered to.
	Tokens []string
	// Listen is the address listened on, as host:port.
	Listen string
	// BodyTimeout is how long a client may take to send a body (of an import:
	// each 64 KiB of it); 30 s if 0.
	BodyTimeout time.Duration
	// OfferTimeout is how long the intake may take to make an event durable;
	// 10 s if 0.
	OfferTimeout time.Duration
	// Clock returns the time; nil means time.Now.
	Clock func() time.Time
}

type gateway struct {
	Deps
	opt     Options
	recent  *recent
	viewers *viewers
	imports chan struct{} // a token for each running import
	bodies  *bodies
}

const maxImports = 4

// Handler answers the requests of the control listener; see [NewServer] for the
// server around it.
type Handler struct {
	http.Handler
	gateway *gateway
}

// New returns a handler, whose Run has to run beside the server.
func New(deps Deps, opt Options) *Handler {
	if opt.BodyTimeout == 0 {
		opt.BodyTimeout = 30 * time.Second
	}
	if opt.OfferTimeout == 0 {
		opt.OfferTimeout = 10 * time.Second
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if deps.PageOf == nil {
		deps.PageOf = func(string) string { return "" }
	}
	if deps.PublicOf == nil {
		deps.PublicOf = func(string) []string { return nil }
	}
	if deps.Callers == nil {
		deps.Callers, _ = caller.New(caller.Options{}) // only a source can be at fault
	}
	g := &gateway{Deps: deps, opt: opt, recent: newRecent(), viewers: newViewers(), imports: make(chan struct{}, maxImports), bodies: newBodies()}
	auth := newAuth(opt.Tokens)
	mux := http.NewServeMux()
	for _, r := range g.routes() {
		h := http.Handler(g.methods(r.methods))
		if !r.open {
			h = g.authorised(auth, r.intake, h)
		}
		mux.Handle(r.path, h)
	}
	mux.Handle("/", g.authorised(auth, intake{}, g.answer(func(http.ResponseWriter, *http.Request) error {
		return refuse(http.StatusNotFound, "there is nothing at this path")
	})))
	return &Handler{Handler: g.safe(g.fromHere(mux)), gateway: g}
}

// Run computes what the viewers of the live page see until ctx ends, and then ends
// their streams, which a shutdown of the server would otherwise wait for. It is
// called once, and returns nil.
func (h *Handler) Run(ctx context.Context) error {
	h.gateway.watch(ctx)
	return nil
}

// handler answers a request; what it returns becomes a problem.
type handler func(w http.ResponseWriter, r *http.Request) error

type route struct {
	path    string
	methods map[string]handler
	// open routes ask for no token: probes have none, and a browser asks for the
	// live page, which holds nothing, before its user can give one.
	open bool
	// intake is what a POST may be sent to by those who have no token.
	intake intake
}

// intake names a route as the sources of callers do, and bounds its bodies; the zero
// value is a route without sources.
type intake struct {
	name  string // or, if own, that of the path
	own   bool
	limit int64
	// key finds the key that a sender has in its body; nil where there is none.
	key func(body []byte) string
}

// of is the route's name for the sources of callers, "" if it has none.
func (i intake) of(r *http.Request) string {
	if i.own {
		return caller.Own(r.PathValue("name"))
	}
	return i.name
}

func (g *gateway) routes() []route {
	get := func(h handler) map[string]handler { return map[string]handler{http.MethodGet: h} }
	post := func(h handler) map[string]handler { return map[string]handler{http.MethodPost: h} }
	events := intake{name: caller.Events, limit: incident.MaxEventBytes}
	alerts := intake{name: caller.Alerts, limit: maxAlertsBytes}
	pagerDuty := intake{name: caller.PagerDuty, limit: senders.MaxPagerDuty, key: senders.RoutingKey}
	own := intake{own: true, limit: maxOwnBytes}
	probes := intake{name: caller.Probes, limit: probe.MaxBytes}
	return []route{
		{path: "/v1/incidents", methods: map[string]handler{"POST": g.postIncident, "GET": g.listIncidents}, intake: events},
		{path: "/v1/alerts", methods: post(g.postAlerts), intake: alerts},
		{path: "/v1/update", methods: post(g.postAlerts), intake: alerts},
		{path: "/v2/enqueue", methods: post(g.postPagerDuty), intake: pagerDuty},
		{path: "/v1/sources/{name}", methods: post(g.postOwn), intake: own},
		{path: "/v1/orders", methods: post(g.postOrder)},
		{path: "/v1/audit", methods: get(g.getAudit)},
		{path: "/v1/probes", methods: map[string]handler{"POST": g.postProbes, "GET": g.listServices}, intake: probes},
		{path: "/v1/probes/{service}", methods: map[string]handler{"DELETE": g.forgetService}},
		{path: "/v1/incidents/{id}", methods: get(g.getIncident)},
		{path: "/v1/incidents/{id}/pending", methods: get(g.getPending)},
		{path: "/v1/incidents/{id}/deliveries", methods: get(g.listDeliveries)},
		{path: "/v1/incidents/{id}/resend", methods: post(g.resendIncident)},
		{path: "/v1/incidents/{id}/stop", methods: post(g.stopIncident)},
		{path: "/v1/targets", methods: map[string]handler{"POST": g.postTarget, "GET": g.listTargets}},
		{path: "/v1/targets/import", methods: post(g.importTargets)},
		{path: "/v1/targets/{id}", methods: map[string]handler{"GET": g.getTarget, "PATCH": g.patchTarget, "DELETE": g.deleteTarget}},
		{path: "/v1/targets/{id}/test", methods: post(g.testTarget)},
		{path: "/v1/audience", methods: get(g.getAudience)},
		{path: "/v1/parked", methods: get(g.listParked)},
		{path: "/v1/providers", methods: get(g.getProviders)},
		{path: "/v1/providers/{name}/pause", methods: post(g.steer(true))},
		{path: "/v1/providers/{name}/resume", methods: post(g.steer(false))},
		{path: "/v1/pause", methods: post(g.steer(true))},
		{path: "/v1/resume", methods: post(g.steer(false))},
		{path: "/v1/queues", methods: get(g.getQueues)},
		{path: "/v1/live", methods: get(g.getLive)},
		{path: "/{$}", methods: get(newLivePage()), open: true},
		{path: "/openapi.json", methods: get(getOpenAPI), open: true},
		{path: "/metrics", methods: get(g.metrics)},
		{path: "/debug/pprof/{name}", methods: get(g.getProfile)},
		{path: "/healthz", methods: get(healthz), open: true},
		{path: "/readyz", methods: get(g.readyz), open: true},
	}
}

// methods chooses the handler by method; a GET answers HEAD as well.
func (g *gateway) methods(by map[string]handler) http.Handler {
	var allow []string
	for method := range by {
		allow = append(allow, method)
		if method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	allowed := strings.Join(allow, ", ")
	return g.answer(func(w http.ResponseWriter, r *http.Request) error {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h, ok := by[method]; ok {
			return h(w, r)
		}
		w.Header().Set("Allow", allowed)
		return refuse(http.StatusMethodNotAllowed, "use "+allowed)
	})
}

func (g *gateway) metrics(w http.ResponseWriter, r *http.Request) error {
	g.Metrics.ServeHTTP(w, r)
	return nil
}

func healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (g *gateway) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	parts := g.Ready(ctx)
	status := http.StatusOK
	for _, state := range parts {
		if state != "ok" {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", retryAfter)
		}
	}
	return writeJSON(w, status, map[string]any{"ready": status == http.StatusOK, "parts": parts})
}

package gateway

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

const (
	// liveEvery is the time between two events of the stream.
	liveEvery = time.Second
	// readyEvery is the time between two questions for readiness while all is
	// well: it costs the store a write.
	readyEvery = 5 * time.Second
	// questionPatience bounds a question to the queue or the store.
	questionPatience = 5 * time.Second
	// depthsStale is when the depths are no longer shown.
	depthsStale = 5 * time.Second
)

// liveJSON is what viewers see: all there is, in every event.
type liveJSON struct {
	At time.Time `json:"at"`
	// Ready is null, and Parts empty, until the parts have answered.
	Ready *bool             `json:"ready"`
	Parts map[string]string `json:"parts"`
	// Queues and Incidents are null while they can't be read.
	Queues      []queueJSON        `json:"queues"`
	Providers   providersJSON      `json:"providers"`
	Channels    []channelJSON      `json:"channels"`
	Connections connectionsJSON    `json:"connections"`
	Incidents   []liveIncidentJSON `json:"incidents"`
}

// channelJSON sums a channel up.
type channelJSON struct {
	Channel  string `json:"channel"`
	InFlight int    `json:"in_flight"`
	// DeliveredPerSecond is that since the event before, null in the first.
	DeliveredPerSecond *float64 `json:"delivered_per_second"`
	// Ended counts by outcome since the process began.
	Ended map[string]int `json:"ended"`
}

type connectionsJSON struct {
	Used   int `json:"used"`
	Budget int `json:"budget"`
}

// observer finds out what viewers see. One goroutine owns it, that of watch. Each
// question that may take a while is asked in a goroutine of its own, at most one of
// a kind at a time, and its answer is a change that the owner makes.
type observer struct {
	*gateway
	answers chan func()
	asked   sync.WaitGroup
	open    [questions]bool // without an answer

	parts     map[string]string // nil before the first answer
	partsAt   time.Time         // when they were asked for
	depths    []queue.Depth
	depthsAt  time.Time
	chronicle *chronicle // lent to the question while that is open
	incidents []liveIncidentJSON

	ended   map[string]map[dispatcher.Outcome]int // nil before the first event
	endedAt time.Time
}

// The kinds of questions.
const (
	aboutParts = iota
	aboutDepths
	aboutIncidents
	questions
)

// watch shows viewers what happens until ctx ends. With nobody there it waits, and
// asks for nothing.
func (g *gateway) watch(ctx context.Context) {
	o := &observer{gateway: g, answers: make(chan func(), questions), chronicle: newChronicle()}
	ctx, cancel := context.WithCancel(ctx)
	defer o.asked.Wait()
	defer cancel()
	defer g.viewers.end() // before anything is waited for
	tick := time.NewTimer(liveEvery)
	defer tick.Stop()
	watched, shown := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.viewers.came:
			if !watched {
				watched, shown = true, false
				o.ask(ctx)
				tick.Reset(liveEvery)
			}
		case change := <-o.answers:
			change()
			if watched && !shown && o.open == [questions]bool{} {
				tick.Reset(0) // who comes first needn't wait longer
			}
		case <-tick.C:
			switch {
			case !watched:
			case g.viewers.rest():
				watched = false
				o.forget()
			default:
				shown = true
				o.show()
				o.ask(ctx)
				tick.Reset(liveEvery)
			}
		}
	}
}

// ask asks what is worth asking now.
func (o *observer) ask(ctx context.Context) {
	now := o.opt.Clock()
	if ready := o.ready(); ready == nil || !*ready || now.Sub(o.partsAt) >= readyEvery {
		ask(ctx, o, aboutParts, o.Ready, func(parts map[string]string) {
			o.parts, o.partsAt = parts, now
		})
	}
	ask(ctx, o, aboutDepths, func(ctx context.Context) []queue.Depth {
		depths, _ := o.Depths(ctx) // a queue in trouble has no figures; the parts say why
		return depths
	}, func(depths []queue.Depth) { o.depths, o.depthsAt = depths, now })
	ask(ctx, o, aboutIncidents, func(ctx context.Context) []liveIncidentJSON {
		incidents, _ := o.chronicle.read(ctx, o.History, o.opt.Clock) // likewise
		return incidents
	}, func(incidents []liveIncidentJSON) { o.incidents = incidents })
}

// ask asks a question of a kind, unless one is open, and lets the owner take its
// answer.
func ask[T any](ctx context.Context, o *observer, kind int, question func(context.Context) T, take func(T)) {
	if o.open[kind] {
		return
	}
	o.open[kind] = true
	o.asked.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, questionPatience)
		defer cancel()
		answer := question(ctx)
		o.answers <- func() { // has room for one of each kind
			o.open[kind] = false
			take(answer)
		}
	})
}

// forget drops what would be old news to the next viewer.
func (o *observer) forget() {
	o.parts, o.partsAt, o.depths, o.incidents, o.ended = nil, time.Time{}, nil, nil, nil
}

func (o *observer) show() {
	var event bytes.Buffer
	event.WriteString("data: ")
	body, err := encodeJSON(o.snapshot()) // on one line, and with its end
	if err != nil {
		o.Log.Error("what the live page shows can't be encoded; this is a defect, please report it", "error", err)
		return
	}
	event.Write(body)
	event.WriteByte('\n')
	o.viewers.show(event.Bytes())
}

func (o *observer) snapshot() liveJSON {
	now := o.opt.Clock()
	s := liveJSON{At: now.UTC(), Parts: map[string]string{}, Providers: o.newProvidersJSON(), Incidents: o.incidents}
	s.Connections.Used, s.Connections.Budget = o.Connections()
	if s.Ready = o.ready(); s.Ready != nil {
		s.Parts = o.parts
	}
	if o.depths != nil && now.Sub(o.depthsAt) < depthsStale {
		s.Queues = newQueuesJSON(o.depths)
	}
	s.Channels = o.channels(now)
	return s
}

// ready is nil before the parts have answered.
func (o *observer) ready() *bool {
	if o.parts == nil {
		return nil
	}
	ready := true
	for _, said := range o.parts {
		ready = ready && said == "ok"
	}
	return &ready
}

// channels sums up the configured channels, and keeps the counts for the next time.
func (o *observer) channels(now time.Time) []channelJSON {
	ended, sent := o.Ended(), o.Engine.Snapshot()
	list := []channelJSON{}
	for _, group := range o.Groups {
		name, _, _ := strings.Cut(group.Name, ":")
		if slices.ContainsFunc(list, func(c channelJSON) bool { return c.Channel == name }) {
			continue
		}
		c := channelJSON{Channel: name, Ended: make(map[string]int)}
		for group, figures := range sent.Groups {
			if channel, _, _ := strings.Cut(group, ":"); channel == name {
				c.InFlight += figures.InFlight
			}
		}
		for outcome, n := range ended[name] {
			c.Ended[outcome.String()] = n
		}
		if passed := now.Sub(o.endedAt).Seconds(); o.ended != nil && passed > 0 {
			rate := float64(ended[name][dispatcher.Delivered]-o.ended[name][dispatcher.Delivered]) / passed
			c.DeliveredPerSecond = &rate
		}
		list = append(list, c)
	}
	o.ended, o.endedAt = ended, now
	return list
}

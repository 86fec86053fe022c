package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/sink"
)

// intakeHTTP is i1.http: events over HTTP, each durable before its 202. First they
// come at the rate that must be borne, whether or not the engine keeps up, and the
// answers' latency counts from when each was due; then as fast as the engine
// answers.
func intakeHTTP() Scenario {
	return Scenario{
		ID: "i1.http", Title: "events over HTTP, durable before the 202; p99 at 3,000/s",
		Full: Size{Events: 5 * intakeRate}, Quick: Size{Events: intakeRate}, FullS: 9, QuickS: 2.2,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			return r.intake(ctx, "i1.http", false, func(e *engine, m *result.Measurement) error {
				return driveHTTP(ctx, e, size.Events, m)
			})
		},
		Results: []Result{{ID: "i1.http", Goals: []result.Goal{
			{Of: result.PerS, Must: intakeRate, Aim: 10_000},
			{Of: result.P99MS, AtMost: true, Must: 50, Aim: 50},
		}}},
	}
}

// intakeRate is what must be borne, in events a second.
const intakeRate = 3000

// intake runs an engine without targets and measures what drive does to it.
func (r *Rig) intake(ctx context.Context, id string, broker bool, drive func(*engine, *result.Measurement) error) (_ Found, err error) {
	queue, err := r.queue(ctx, broker)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(r.Folder, "data")
	defer func() { err = errors.Join(err, r.clear(folder)) }()
	e, err := r.startEngine(ctx, engineOptions{data: folder, queue: queue, port: r.port})
	if err != nil {
		return nil, err
	}
	m := &result.Measurement{More: make(map[string]float64)}
	err = drive(e, m)
	if stopped := e.Shut(); err == nil {
		err = stopped
	}
	return Found{id: m}, err
}

// clients is how many requests are under way at most.
const clients = 128

// intakeEvent is an event of an incident of its own.
func intakeEvent(n int) ([]byte, error) {
	story, err := newStory(fmt.Sprintf("INTAKE-%d", n))
	if err != nil {
		return nil, err
	}
	return eventOf(&story, floor.Page, 1)
}

const (
	acceptedHTTP   = `tocsin_events_received_total{result="accepted",source="http"}`
	acceptedAMQP   = `tocsin_events_received_total{result="accepted",source="amqp"}`
	drainPatience  = time.Minute
	eventPatience  = 10 * time.Second
	warmUpRequests = 500
)

func driveHTTP(ctx context.Context, e *engine, events int, m *result.Measurement) error {
	poster := newPoster(e.Base, "/v1/incidents", clients, intakeEvent)
	if err := poster.drive(ctx, e, events, intakeRate, m); err != nil {
		return err
	}
	// A 202 is a promise: every event has to be accepted in the end.
	sent := poster.sent.Load()
	if _, all, err := e.await(ctx, acceptedHTTP, float64(sent), drainPatience); err != nil || all {
		return err
	}
	counted, err := e.counter(ctx, acceptedHTTP)
	m.Lost = int(sent) - int(counted)
	return err
}

// drive sends requests at a rate, and then as many as fast as they are answered.
func (p *poster) drive(ctx context.Context, e *engine, requests int, rate float64, m *result.Measurement) error {
	defer p.client.CloseIdleConnections()
	if _, err := p.run(ctx, warmUpRequests, 0); err != nil {
		return err
	}
	watch := run.Observe(e.Process)
	paced, err := p.run(ctx, requests, rate)
	var free *volley
	if err == nil {
		free, err = p.run(ctx, requests, 0)
	}
	m.Cost(watch.End(), "engine")
	if err != nil {
		return err
	}
	m.P50MS, m.P99MS = float64(paced.latency.ValueAtPercentile(50))/1000, float64(paced.latency.ValueAtPercentile(99))/1000
	m.Latency = quantiles(paced.latency)
	m.Deliveries, m.WallS = requests, free.wall.Seconds()
	m.PerS = float64(requests) / m.WallS
	m.More["offered_per_s"], m.More["paced_per_s"] = result.Round(rate), result.Round(float64(requests)/paced.wall.Seconds())
	m.More["free_p99_ms"] = float64(free.latency.ValueAtPercentile(99)) / 1000
	return nil
}

// poster posts bodies to one route; body makes the one of a number.
type poster struct {
	url     string
	body    func(n int) ([]byte, error)
	clients int // requests under way at most
	client  *fasthttp.HostClient
	sent    atomic.Int64
}

func newPoster(base, path string, clients int, body func(n int) ([]byte, error)) *poster {
	address := strings.TrimPrefix(base, "http://")
	return &poster{url: base + path, body: body, clients: clients, client: &fasthttp.HostClient{Addr: address, MaxConns: clients,
		MaxIdemponentCallAttempts: 1, NoDefaultUserAgentHeader: true,
		Dial: func(to string) (net.Conn, error) { return net.DialTimeout("tcp", to, eventPatience) }}}
}

// volley is so many requests, and how long their answers took.
type volley struct {
	wall    time.Duration
	latency *hdrhistogram.Histogram // microseconds
}

// run posts n bodies at a rate by the second, or as fast as they are answered if
// that is 0. At a rate, the latency counts from the moment when an event was due,
// even if all clients were busy then: what a slow answer holds up counts too.
func (p *poster) run(ctx context.Context, n int, rate float64) (*volley, error) {
	bodies := make([][]byte, n)
	from := int(p.sent.Load())
	for i := range bodies {
		var err error
		if bodies[i], err = p.body(from + i); err != nil {
			return nil, err
		}
	}
	var (
		next     atomic.Int64
		workers  sync.WaitGroup
		mu       sync.Mutex
		failure  error
		together = sink.NewHistogram()
		begun    = time.Now()
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range p.clients {
		workers.Go(func() {
			own := sink.NewHistogram()
			var err error
			for err == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					break
				}
				due := time.Now()
				if rate > 0 {
					due = begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
					if err = run.Sleep(ctx, time.Until(due)); err != nil {
						break
					}
				}
				if err = p.post(ctx, bodies[i]); err == nil {
					_ = own.RecordValue(min(time.Since(due).Microseconds(), own.HighestTrackableValue()))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			together.Merge(own)
			if err != nil {
				failure = errors.Join(failure, err)
				cancel()
			}
		})
	}
	workers.Wait()
	return &volley{time.Since(begun), together}, failure
}

func (p *poster) post(ctx context.Context, body []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(p.url)
	request.Header.SetMethod(http.MethodPost)
	request.Header.SetContentType("application/json")
	request.SetBodyRaw(body)
	if err := p.client.DoDeadline(request, response, time.Now().Add(eventPatience)); err != nil {
		return fmt.Errorf("post to the intake: %w", err)
	}
	if response.StatusCode() != http.StatusAccepted {
		return fmt.Errorf("post to the intake: the engine answered %d: %.200s", response.StatusCode(), response.Body())
	}
	p.sent.Add(1)
	return nil
}

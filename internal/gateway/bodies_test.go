package gateway

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestTheSlowestGivesUpItsRoom takes room for three bodies where there is some for two.
func TestTheSlowestGivesUpItsRoom(t *testing.T) {
	b := newBodies()
	b.room = 2 << 20
	var cuts []string
	body := func(name string, age time.Duration, came int) *incoming {
		in := &incoming{of: b}
		in.begin(func() { cuts = append(cuts, name) })
		in.begun = time.Now().Add(-age)
		in.arrived(came, false)
		return in
	}
	const size = 1<<20 + smallBody
	slow, fast, slowest := body("slow", time.Hour, 1<<20), body("fast", time.Minute, 1<<20), body("slowest", 2*time.Hour, 1000)
	for _, in := range []*incoming{slow, fast} {
		if err := in.take(size); err != nil {
			t.Fatal(err)
		}
	}
	if err := slowest.take(size); !errors.Is(err, errNoRoom) {
		t.Errorf("one that is slower than all gets %v", err)
	}
	next := body("next", time.Second, 1<<20)
	if err := next.take(size); err != nil || strings.Join(cuts, " ") != "slow" {
		t.Errorf("the next gets %v, and cut are %q", err, cuts)
	}
	if err := slow.take(size); !errors.Is(err, errSlow) {
		t.Errorf("one that was cut gets %v", err)
	}
	if fast.arrived(1, true); b.taken != 2<<20 {
		t.Errorf("%d bytes are taken", b.taken)
	}
	// One that is whole is not cut any more.
	if err := body("last", 0, 1<<20).take(2 * size); !errors.Is(err, errNoRoom) || strings.Join(cuts, " ") != "slow next" {
		t.Errorf("the last gets %v, and cut are %q", err, cuts)
	}
	for _, in := range []*incoming{slow, fast, next, slowest} {
		in.leave()
	}
	if b.taken != 0 || len(b.large) != 0 {
		t.Errorf("in the end %d bytes of %d bodies are taken", b.taken, len(b.large))
	}
}

// TestHalfBodiesAreInNobodysWay: as much as there is room for comes, and then nothing
// more; who sends a whole body is answered, and those are told why they aren't.
func TestHalfBodiesAreInNobodysWay(t *testing.T) {
	f := start(t)
	room := f.handler.gateway.bodies
	room.mu.Lock()
	room.room = 4 << 20
	room.mu.Unlock()
	half := "POST /v1/alerts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat(" ", 600<<10)
	came := func() (all int) {
		room.mu.Lock()
		defer room.mu.Unlock()
		for in := range room.large {
			all += in.came
		}
		return all
	}
	// Who has sent less is slower: as much has come of all when the next one does.
	first := f.dial(half)
	for came() < 600<<10 {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		f.dial(half)
	}
	for came() < 3*600<<10 {
		time.Sleep(time.Millisecond)
	}
	f.post("/v1/alerts", notice+strings.Repeat(" ", 5<<18)).want(202)
	res, err := http.ReadResponse(first, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("the slowest is answered %s", res.Status)
	}
}

func TestLargeBodiesTakeTurns(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.OfferTimeout = time.Millisecond })
	large := notice + strings.Repeat(" ", largeBody)
	takeAll(f.handler.gateway.bodies.turns)
	if a := f.post("/v1/alerts", large); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("without a turn: %d %s", a.status, a.body)
	}
	f.opt.OfferTimeout = 0 // what is taken may take its time
	f.serve()
	takeAll(f.handler.gateway.bodies.turns)
	f.post("/v1/alerts", notice).want(202)
	<-f.handler.gateway.bodies.turns
	f.post("/v1/alerts", large).want(202)
	if n := len(f.handler.gateway.bodies.turns); n != maxLarge-1 {
		t.Errorf("%d turns are taken, a request's own among them", n)
	}
}

// TestMiddlingBodiesTakeTurns: of all connections at once, each below what is large,
// they would take gigabytes to be understood.
func TestMiddlingBodiesTakeTurns(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.OfferTimeout = time.Millisecond })
	middling := notice + strings.Repeat(" ", largeBody-len(notice)-1)
	takeAll(f.handler.gateway.bodies.middling)
	if a := f.post("/v1/alerts", middling); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("without a turn: %d %s", a.status, a.body)
	}
	f.opt.OfferTimeout = 0 // what is taken may take its time
	f.serve()
	turns := f.handler.gateway.bodies.middling
	takeAll(turns)
	f.post("/v1/alerts", notice+strings.Repeat(" ", smallBody-len(notice)-1)).want(202)
	<-turns
	f.post("/v1/alerts", middling).want(202)
	if n := len(turns); n != maxMiddling-1 || len(f.handler.gateway.bodies.turns) != 0 {
		t.Errorf("%d turns are taken, a request's own among them", n)
	}
}

// takeAll leaves no turn to others.
func takeAll(turns chan struct{}) {
	for range cap(turns) {
		turns <- struct{}{}
	}
}

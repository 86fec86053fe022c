package simulate

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
)

// peers are the far sides of all channels: they answer as their moods say, and
// write down every request.
type peers struct {
	w *world

	mu       sync.Mutex
	receipts []*receipt
	nth      map[delivery]int
	// durable are the deliveries whose success the store has confirmed to be
	// written, and when.
	durable map[dispatcher.Row]time.Time
}

// delivery names what is to arrive once.
type delivery struct {
	incident string
	sequence int
	target   int64
}

// receipt is one request as its peer saw it.
type receipt struct {
	delivery
	by       *process
	id       string
	provider string
	address  string
	nth      int
	start    time.Time
	end      time.Time // zero: cut
	wall     time.Time // then, by the machine's clock
	// class is what the engine was told, 0 if nothing; wait what it was asked to
	// wait for.
	class channels.Class
	wait  time.Duration
}

func newPeers(w *world) *peers {
	return &peers{w: w, nth: make(map[delivery]int), durable: make(map[dispatcher.Row]time.Time)}
}

func (s *peers) send(ctx context.Context, p *process, m *channels.Message) channels.Result {
	u := m.Payload.(*channels.Update)
	r := &receipt{
		delivery: delivery{u.IncidentID, u.Sequence, m.Target}, by: p, id: m.ID, provider: m.Provider, address: m.Address, start: time.Now(),
	}
	s.mu.Lock()
	s.nth[r.delivery]++
	r.nth = s.nth[r.delivery]
	s.receipts = append(s.receipts, r)
	s.mu.Unlock()
	result, takes := s.w.answer(r)
	t := time.NewTimer(takes)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.dead:
		return channels.Result{Class: channels.Temporary, Detail: "cut"}
	case <-ctx.Done():
		return channels.Result{Class: channels.Temporary, Detail: "cut"}
	}
	if p.isDead() {
		return channels.Result{Class: channels.Temporary, Detail: "cut"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.end, r.wall, r.class, r.wait = time.Now(), s.w.clock.now(), result.Class, result.RetryAfter
	return result
}

// answer is what a provider's mood makes of a request, and how long that takes.
func (w *world) answer(r *receipt) (channels.Result, time.Duration) {
	h := mix(w.sc.seed, word(r.incident), uint64(r.sequence), uint64(r.target), uint64(r.nth))
	quick := time.Duration(1 + h%uint64(50*time.Millisecond))
	longest := w.sc.engine.longest
	p := w.provider(r.provider)
	well := channels.Result{Class: channels.Delivered}
	since := r.start.Sub(w.began)
	if p.mood != dead && (since > p.until || int(mix(h, 1)%100) >= p.share) {
		return well, quick
	}
	ill := channels.Result{Class: channels.Temporary, Detail: "http 500"}
	switch p.mood {
	case slow:
		return well, time.Duration(1 + mix(h, 2)%uint64(longest))
	case silent, forgetful:
		ill.Detail = "timeout"
		return ill, longest - time.Duration(mix(h, 3)%1000)
	case refusing, dead:
		ill.Detail, ill.NoConnection = "connect: refused", true
		return ill, quick / 10
	case failing:
		return ill, quick
	case flapping:
		if since%p.period < p.period/2 {
			return ill, quick
		}
	case limiting:
		return channels.Result{
			Class: channels.Throttled, Detail: "http 429", RetryAfter: time.Duration(1+mix(h, 4)%45) * time.Second,
		}, quick
	case picky:
		if mix(h, 5)%2 == 0 {
			return channels.Result{Class: channels.Gone, Detail: "http 410"}, quick
		}
		return channels.Result{Class: channels.Permanent, Detail: "http 404"}, quick
	}
	return well, quick
}

func (w *world) provider(name string) *provider {
	i := slices.IndexFunc(w.sc.providers, func(p provider) bool { return p.name == name })
	return &w.sc.providers[i]
}

// committed is told what the store has settled.
func (s *peers) committed(rows []dispatcher.Settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range rows {
		if rows[i].Outcome == dispatcher.Delivered {
			s.durable[rows[i].Row] = time.Now()
		}
	}
}

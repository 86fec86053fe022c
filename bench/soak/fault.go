package soak

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
	"github.com/tocsin/tocsin/internal/testenv"
)

// Fault is trouble that was there for a while.
type Fault struct {
	Name    string `json:"name"`
	Channel string `json:"channel,omitempty"` // empty if it was the broker's
	// FromS and ToS are in seconds since the load began.
	FromS float64 `json:"from_s"`
	ToS   float64 `json:"to_s"`
}

// trouble is a kind of fault.
type trouble struct {
	name    string
	channel string
	// mix is the weather, as [peer.ParseMix] reads it. What is refused is refused
	// for as long as it lasts.
	mix string
	// cuts says that connections are ended all the while.
	cuts bool
	// broker, if set, does it to the broker until ctx ends.
	broker func(ctx context.Context, b *testenv.RabbitMQ) error
}

// troubles are what happens by turns. None lasts longer than the engine's patience
// with a delivery, so that everyone has to be told in the end.
func troubles(broker bool) []trouble {
	all := []trouble{
		{name: "webhooks silent", channel: incident.ChannelWebhook, mix: "silent=10"},
		{name: "webhooks answer 500", channel: incident.ChannelWebhook, mix: "dead=30"},
		{name: "webhooks answer 429", channel: incident.ChannelWebhook, mix: "429=30:1s-2s"},
		{name: "webhooks reset connections", channel: incident.ChannelWebhook, mix: "reset=30"},
		{name: "webhooks slow", channel: incident.ChannelWebhook, mix: "slow=50:300ms-1200ms"},
		{name: "webhooks cut", channel: incident.ChannelWebhook, cuts: true},
		{name: "webhooks in every trouble", channel: incident.ChannelWebhook, mix: "slow=20:300ms-1200ms,429=10:1s-2s,dead=10,silent=5,reset=5"},
		{name: "relay cut", channel: incident.ChannelSMTP, cuts: true},
		{name: "relay slow", channel: incident.ChannelSMTP, mix: "slow=100:100ms-400ms"},
		{name: "relay fails", channel: incident.ChannelSMTP, mix: "dead=50"},
		{name: "relay throttles", channel: incident.ChannelSMTP, mix: "429=20"},
		{name: "relay silent", channel: incident.ChannelSMTP, mix: "silent=5"},
		{name: "SMS centre cut", channel: incident.ChannelSMPP, cuts: true},
		{name: "SMS centre slow", channel: incident.ChannelSMPP, mix: "slow=100:100ms-400ms"},
		{name: "SMS centre fails", channel: incident.ChannelSMPP, mix: "dead=50"},
		{name: "SMS centre throttles", channel: incident.ChannelSMPP, mix: "429=20"},
	}
	if broker {
		all = append(all,
			trouble{name: "broker closes connections", broker: func(_ context.Context, b *testenv.RabbitMQ) error {
				// Finished even if the run ends: it takes half a second.
				ctx, cancel := context.WithTimeout(context.Background(), brokerPatience)
				defer cancel()
				_, err := b.Ctl(ctx, "close_all_connections", "soak")
				return err
			}},
			trouble{name: "broker paused", broker: func(ctx context.Context, b *testenv.RabbitMQ) error {
				if err := b.Pause(); err != nil {
					return err
				}
				<-ctx.Done()
				return b.Resume()
			}})
	}
	return all
}

// weather is what a trouble makes of its channel.
func (t *trouble) weather(shift int) (*weather, error) {
	mix, err := peer.ParseMix(t.mix)
	if err != nil {
		return nil, fmt.Errorf("fault %q: %w", t.name, err)
	}
	for i := range mix.Shares {
		if mix.Shares[i].Kind == peer.Throttled {
			mix.Shares[i].Times = math.MaxInt
		}
	}
	return &weather{mix, shift}, nil
}

const (
	// Faults last from shortest to longest.
	shortest = 2 * time.Second
	longest  = 4 * time.Second
	// brokerPatience bounds a command to the broker.
	brokerPatience = 30 * time.Second
)

// trouble has one fault after the other until ctx ends: all kinds by turns, each turn
// in another order.
func (s *soak) trouble(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(s.options.Seed, 1))
	kinds := troubles(s.broker != nil)
	for {
		rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for i := range kinds {
			lasts := shortest + time.Duration(rng.Int64N(int64(longest-shortest)))
			if run.Sleep(ctx, max(s.options.FaultEvery-lasts, 0)) != nil {
				return nil
			}
			if err := s.strike(ctx, &kinds[i], lasts, rng.IntN(1<<20)); err != nil {
				return err
			}
		}
	}
}

// strike has a fault for a while, or until ctx ends; then all is well again.
func (s *soak) strike(ctx context.Context, t *trouble, lasts time.Duration, shift int) error {
	w, err := t.weather(shift)
	if err != nil {
		return err
	}
	s.calm.RLock()
	defer s.calm.RUnlock()
	during, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	from := time.Now()
	s.current.Store(&t.name)
	switch {
	case t.broker != nil:
		err = t.broker(during, s.broker)
	case t.cuts:
		s.desk.cutting(t.channel, from)
		s.crew.cut(during, t.channel)
		s.desk.cutEnded(t.channel, time.Now())
	default:
		s.crew.set(t.channel, w)
		<-during.Done()
		s.crew.set(t.channel, new(weather))
	}
	s.current.Store(nil)
	s.faults = append(s.faults, Fault{t.name, t.channel, round(from.Sub(s.begun).Seconds()), round(time.Since(s.begun).Seconds())})
	if err != nil {
		return fmt.Errorf("fault %q: %w", t.name, err)
	}
	return nil
}

func round(f float64) float64 { return math.Round(f*1000) / 1000 }

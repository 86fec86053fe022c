package crash

import (
	"context"
	"testing"

	"github.com/tocsin/tocsin/internal/testenv"
)

func TestCrash_EngineOnEmbeddedQueue(t *testing.T) {
	tr := begin(t, "sqlite")
	tr.measure()
	tr.killEngines(kills(t, 20))
	tr.judge()
}

func TestCrash_EngineOnRabbitMQ(t *testing.T) {
	url := testenv.Vhost(t)
	tr := begin(t, url)
	tr.publishTo(url)
	tr.measure()
	tr.killEngines(kills(t, 20))
	tr.judge()
}

// The engine lives through it all: nothing is sent twice.
func TestCrash_Broker(t *testing.T) {
	broker, err := testenv.StartRabbitMQ(t.Context(), testenv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	tr := begin(t, broker.URL())
	tr.publishTo(broker.URL())
	tr.measure()
	for range kills(t, 10) {
		tr.awaitReady()
		tr.round(func() {
			if err := broker.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := broker.Start(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
		})
	}
	tr.judge()
}

// calmEvery is after how many kills the engine may finish what it has.
const calmEvery = 7

// killEngines kills the engine n times: at random moments of fan-outs and, now and
// then, of picking up what the kill before left.
func (tr *trial) killEngines(n int) {
	tr.t.Helper()
	for len(tr.kills) < n {
		if len(tr.kills) > 0 && tr.rng.IntN(5) == 0 {
			tr.wait("recovery")
			tr.killEngine()
			continue
		}
		tr.awaitReady()
		tr.round(tr.killEngine)
		if len(tr.kills)%calmEvery == 0 {
			tr.calm()
		}
	}
}

// publishTo has updates published to a broker instead of the API.
func (tr *trial) publishTo(url string) {
	p := &producer{url: url}
	tr.t.Cleanup(p.close)
	tr.publish = p.publish
}

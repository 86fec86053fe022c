package crash

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
)

// A mix says which part of the targets does what; the others answer at once.
const (
	// Refusals last through the first few updates, so that kills meet retries;
	// the dead refuse until their deliveries expire.
	mixForEngine = "slow=3:100ms-500ms,500=2:x8,429=2:1s:x5,dead=0.25"
	// Refusals last through a few outages, so that batches are held over them.
	mixForBroker = "slow=3:100ms-500ms,500=2:x25,429=2:1s:x25,gone=0.25"
	// expiry is long enough for everybody who ever answers, and short enough to
	// wait for the dead.
	expiry = 25 * time.Second
)

func TestFault_09_EngineKilled_Embedded(t *testing.T) {
	t.Parallel()
	tr := begin(t, "sqlite", mixForEngine, expiry)
	tr.measure(healthy)
	tr.killEngines(kills(t, 20))
	tr.judge()
}

func TestFault_09_EngineKilled_RabbitMQ(t *testing.T) {
	t.Parallel()
	url := testenv.Vhost(t)
	tr := begin(t, url, mixForEngine, expiry)
	tr.publishTo(url)
	tr.measure(healthy)
	tr.killEngines(kills(t, 20))
	tr.judge()
}

// The engine lives through it all: nothing comes twice. A broker takes about five
// seconds to boot, and the engine up to ten to find it again: nothing here may
// expire meanwhile.
func TestFault_01_BrokerKilled(t *testing.T) {
	t.Parallel()
	usual := 10
	if testing.Short() {
		usual = 3
	}
	broker, err := testenv.StartRabbitMQ(t.Context(), testenv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	tr := begin(t, broker.URL(), mixForBroker, time.Hour)
	tr.publishTo(broker.URL())
	tr.measure(healthy)
	for range kills(t, usual) {
		tr.awaitReady()
		tr.round(func() {
			if err := broker.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := broker.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			tr.back = time.Now()
		})
	}
	tr.judge()
}

// The engine may finish what it has after so many kills, and after so long: what
// needs half a second of peace to be accepted must not expire for want of it.
const (
	calmAfter = 7
	calmEvery = expiry / 3
)

// killEngines kills the engine n times: at random moments of fan-outs and, now and
// then, of picking up what the kill before left.
func (tr *trial) killEngines(n int) {
	tr.t.Helper()
	calm, kills := time.Now(), 0
	for ; n > 0; n-- {
		if kills > 0 && tr.rng.IntN(5) == 0 {
			tr.wait("recovery")
			tr.killEngine()
			kills++
			continue
		}
		tr.awaitReady()
		if kills >= calmAfter || time.Since(calm) > calmEvery {
			tr.measure(listens)
			calm, kills = time.Now(), 0
		}
		tr.round(tr.killEngine)
		kills++
	}
}

// publishTo has updates published to a broker instead of the API.
func (tr *trial) publishTo(url string) {
	p := &producer{url: url}
	tr.t.Cleanup(func() {
		tr.publishing.Wait()
		p.close()
	})
	tr.publish = p.publish
}

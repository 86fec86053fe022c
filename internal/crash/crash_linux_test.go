package crash

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
)

// Refusals last through a few outages, so that batches are held over them.
const mixForBroker = "slow=3:100ms-500ms,500=2:x25,429=2:1s:x25,gone=0.25"

func TestFault_09_EngineKilled_Embedded(t *testing.T) {
	t.Parallel()
	tr := begin(t, embedded, MixToEnd, Expiry)
	tr.measure(healthy)
	tr.killEngines(t.Context(), kills(t, 20))
	tr.judge()
}

func TestFault_09_EngineKilled_RabbitMQ(t *testing.T) {
	t.Parallel()
	url := testenv.Vhost(t)
	tr := begin(t, url, MixToEnd, Expiry)
	tr.publishTo(url)
	tr.measure(healthy)
	tr.killEngines(t.Context(), kills(t, 20))
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

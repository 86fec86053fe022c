package dispatcher_test

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/testenv"
)

// inBrokerWorld runs a test over a real RabbitMQ, in real time, with a sweeper
// that is quick to suspect.
func inBrokerWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), broker: testenv.Vhost(t), peer: &peer{}, meter: &counts{outcomes: map[dispatcher.Outcome]int{}}}
	w.options = func(o *dispatcher.Options) {
		o.SweepEvery, o.SweepUnpublished, o.SweepUnclaimed = 50*time.Millisecond, 200*time.Millisecond, 300*time.Millisecond
		o.RetryEvery, o.CallbackEvery = 20*time.Millisecond, 20*time.Millisecond
		o.Backoff = dispatcher.Backoff{Base: 50 * time.Millisecond, Cap: time.Second}
	}
	w.open()
	defer w.close()
	f(t, w)
}

func TestBrokerEveryDeliveryReachesAnOutcome(t *testing.T) {
	inBrokerWorld(t, func(t *testing.T, w *world) {
		w.subscribe(1000)
		w.peer.answer = func(target int64, _, nth int) (channels.Result, time.Duration) {
			if target%10 == 0 && nth == 1 {
				return channels.Result{Class: channels.Temporary, Detail: "http 500"}, 0
			}
			return channels.Result{Class: channels.Delivered}, 0
		}
		w.start()
		w.publish(incident.Investigating, "")
		w.settled()
		w.publish(incident.Resolved, "")
		w.settled()
		w.holds(map[int]int{1: 1000, 2: 1000}, 0)
	})
}

func TestBrokerCrash(t *testing.T) {
	for _, at := range dispatcher.Failpoints() {
		if at == dispatcher.FailReplaced || at == dispatcher.FailRebatched || ofResend(at) {
			continue // below, in TestCrash, and in TestResendCrash
		}
		t.Run(string(at), func(t *testing.T) {
			inBrokerWorld(t, func(t *testing.T, w *world) {
				w.subscribe(300)
				w.publish(incident.Investigating, calledBack)
				w.crash(at, 1)
				w.start()
				w.settled()
				w.holds(map[int]int{1: 300}, 300)
				w.told(2, 1)
			})
		})
	}
}

// What the broker was given and lost is in the ledger: the sweeper publishes it
// again, and if it dies over that, the next one does.
func TestFault_07_QueueDeleted(t *testing.T) {
	for name, lose := range map[string]func(*amqp.Channel, string) (int, error){
		"emptied": func(ch *amqp.Channel, queue string) (int, error) { return ch.QueuePurge(queue, false) },
		"deleted": func(ch *amqp.Channel, queue string) (int, error) { return ch.QueueDelete(queue, false, false, false) },
	} {
		t.Run(name, func(t *testing.T) {
			inBrokerWorld(t, func(t *testing.T, w *world) {
				w.subscribe(250)
				w.publish(incident.Investigating, "")
				w.peer.answer = func(int64, int, int) (channels.Result, time.Duration) {
					return channels.Result{Class: channels.Temporary}, 0
				}
				w.crash(dispatcher.FailPagePublished, 1)
				w.peer.answer = nil
				operate(t, w.broker, func(ch *amqp.Channel) (int, error) { return lose(ch, "tocsin.deliver.webhook.urgent") })
				w.crash(dispatcher.FailReplaced, 1)
				w.start()
				w.settled()
				w.holds(map[int]int{1: 250}, 0)
			})
		})
	}
}

// operate does what an operator might, which has to concern some messages.
func operate(t *testing.T, url string, do func(*amqp.Channel) (int, error)) {
	t.Helper()
	c, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := do(ch); err != nil || n == 0 {
		t.Fatalf("%d messages: %v", n, err)
	}
}

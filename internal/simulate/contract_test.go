package simulate

import (
	"testing"

	"github.com/tocsin/tocsin/queue/queuetest"
)

// The simulated broker is held to what the real queues are held to.
func TestContract(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture { return linked(t, newBroker()) })
}

func linked(t *testing.T, b *broker) queuetest.Fixture {
	l := b.connect()
	t.Cleanup(func() { _ = l.Close() })
	return queuetest.Fixture{
		Queue: l, Intake: l,
		Reopen: func(t *testing.T) queuetest.Fixture {
			_ = l.Close()
			return linked(t, b)
		},
		Aside: func(*testing.T) (list []queuetest.Aside) {
			for _, p := range b.aside {
				list = append(list, queuetest.Aside{
					Body: p.event.Body, UpdateID: p.event.UpdateID, Field: p.verdict.Field, Reason: p.verdict.Reason,
				})
			}
			return list
		},
	}
}

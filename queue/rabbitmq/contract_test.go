package rabbitmq

import (
	"testing"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue/queuetest"
)

func TestContract(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture {
		return fixture(t, testOptions(t, testenv.Vhost(t)))
	})
}

func TestContractOfNamedExclusiveDeployment(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture {
		o := testOptions(t, testenv.Vhost(t))
		o.Deployment, o.Exclusive = "second", true
		return fixture(t, o)
	})
}

func fixture(t *testing.T, o Options) queuetest.Fixture {
	b := open(t, o)
	return queuetest.Fixture{
		Queue:  b,
		Intake: b,
		Reopen: func(t *testing.T) queuetest.Fixture {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return fixture(t, o)
		},
		Aside: func(t *testing.T) (aside []queuetest.Aside) {
			ch := peer(t, o.URL)
			for {
				d, ok, err := ch.Get(b.names.invalid, true)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return aside
				}
				field, _ := d.Headers[headerField].(string)
				reason, _ := d.Headers[headerReason].(string)
				aside = append(aside, queuetest.Aside{Body: d.Body, UpdateID: d.MessageId, Field: field, Reason: reason})
			}
		},
		Arrived: func(t *testing.T, group string, n int) {
			eventually(t, "the batches have arrived", func() bool {
				c, _ := b.consuming.state()
				in := c.existing(group)
				in.mu.Lock()
				defer in.mu.Unlock()
				return len(in.levels[urgent].ready)+len(in.levels[normal].ready) == n
			})
		},
	}
}

package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Probed is what a broker looks like from here.
type Probed struct {
	// Product and Version are what the broker calls itself.
	Product, Version string
	// Alarm is why the broker takes no messages; "" if it does.
	Alarm string
	// Denied lists which of configure, write and read the user may not do to what
	// begins with our prefix.
	Denied []string
	// Missing counts the queues that aren't there yet: the engine declares them
	// when it starts. Queues counts all that there should be.
	Missing, Queues int
	// Different lists the queues that are there with other arguments.
	Different []string
	// Owned says that an engine holds this deployment's name.
	Owned bool
	// Parked counts the messages that were given up.
	Parked int
}

// ErrRefused is returned (wrapped) by [Probe] when the broker doesn't let the user
// in.
var ErrRefused = errors.New("the broker refuses user, password or virtual host")

// Probe connects as an engine with these options does and looks at the broker: it
// takes no message and leaves none, and declares only what is there already. The
// error never has the URL's password.
func Probe(ctx context.Context, opts Options) (Probed, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return Probed{}, err
	}
	e, err := opts.dial(ctx, "probe")
	if err != nil {
		if refusal, ok := errors.AsType[*amqp.Error](err); ok {
			err = fmt.Errorf("%w: %s", ErrRefused, refusal.Reason)
		}
		return Probed{}, err
	}
	defer e.hangUp()
	p := Probed{Product: property(e.conn, "product"), Version: property(e.conn, "version")}
	t := &topology{names: namesOf(opts.Deployment), groups: opts.Groups}
	err = e.within(ctx, func() error {
		if err := p.lookAtQueues(e.conn, t); err != nil {
			return err
		}
		if err := p.lookAtOwner(e.conn, t.names.owner); err != nil {
			return err
		}
		return p.lookAtPermissions(e)
	})
	if p.Alarm != "" {
		_ = e.raw.Close() // it would not hear a farewell
	}
	return p, err
}

func property(conn *amqp.Connection, name string) string {
	text, _ := conn.Properties[name].(string)
	return text
}

// lookAtQueues asks for each queue. A passive declaration is answered whatever its
// arguments and whatever the permissions, so a queue that is there is then declared
// as the engine does at each start, which changes nothing.
func (p *Probed) lookAtQueues(conn *amqp.Connection, t *topology) error {
	for _, q := range t.queues() {
		p.Queues++
		var there amqp.Queue
		code, err := ask(conn, func(ch *amqp.Channel) (err error) {
			there, err = ch.QueueDeclarePassive(q.name, true, false, false, false, nil)
			return err
		})
		if err != nil {
			return err
		}
		if code != 0 {
			p.Missing++
			continue
		}
		if q.name == t.names.parked {
			p.Parked = there.Messages
		}
		code, err = ask(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q.name, true, false, false, false, q.args)
			return err
		})
		if err != nil {
			return err
		}
		if code == amqp.PreconditionFailed {
			p.Different = append(p.Different, q.name)
		}
	}
	return nil
}

func (p *Probed) lookAtOwner(conn *amqp.Connection, name string) error {
	code, err := ask(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, false, false, true, false, nil)
		return err
	})
	p.Owned = code == amqp.ResourceLocked
	return err
}

// lookAtPermissions tries each permission on a name that nothing has: the broker
// checks the permission before it looks whether there is such a thing. The publish
// also makes it tell of an alarm.
func (p *Probed) lookAtPermissions(e *epoch) error {
	absent := prefix + "absent." + strings.ToLower(rand.Text())
	for _, try := range []struct {
		permission string
		call       func(ch *amqp.Channel) error
	}{
		{"configure", func(ch *amqp.Channel) error { _, err := ch.QueueDelete(absent, true, true, false); return err }},
		{"read", func(ch *amqp.Channel) error { _, _, err := ch.Get(absent, false); return err }},
		{"write", func(ch *amqp.Channel) error {
			closes := ch.NotifyClose(make(chan *amqp.Error, 1))
			if err := ch.Publish(absent, "", true, false, amqp.Publishing{}); err != nil {
				return err
			}
			select {
			case b := <-e.blocks:
				p.Alarm = b.Reason
				return nil
			case refusal := <-closes:
				select {
				case b := <-e.blocks: // comes before, and select doesn't care
					p.Alarm = b.Reason
				default:
				}
				if refusal == nil {
					return errSilent
				}
				return refusal
			}
		}},
	} {
		code, err := ask(e.conn, try.call)
		if p.Alarm != "" {
			return nil
		}
		if err != nil {
			return err
		}
		if code == amqp.AccessRefused {
			p.Denied = append(p.Denied, try.permission)
		}
	}
	return nil
}

// ask makes a call on a channel of its own, which a refusal closes, and returns the
// code of the refusal, 0 for none.
func ask(conn *amqp.Connection, call func(ch *amqp.Channel) error) (code int, err error) {
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	err = call(ch)
	if refusal, ok := errors.AsType[*amqp.Error](err); ok && refusal.Recover {
		return refusal.Code, nil
	}
	if err != nil {
		return 0, err
	}
	return 0, ch.Close()
}

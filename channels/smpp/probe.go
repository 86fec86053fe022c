package smpp

import (
	"context"
	"errors"
	"fmt"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/internal/egress"
)

// Probed is how far a bind at a centre came.
type Probed struct {
	// Connected says that the centre was reached, TLS included where it is asked for.
	Connected bool
	// Bound says that system_id and password were taken as a transceiver; Unbound
	// that the centre answered the unbind.
	Bound, Unbound bool
	// Refused says that the centre answered the bind with a no, and Taken that it
	// did so because the account has no bind left.
	Refused, Taken bool
}

// Command statuses by which centres say that there is a bind already.
const statusAlreadyBound pdu.Status = 0x05

var errOnlyProbing = errors.New("nothing is recorded while a bind is tried")

// Probe connects to the centre of an account, binds as a transceiver and unbinds. An
// exclusive account is connected to and not bound: the centre might end the bind in
// use. Receipts and STOPs that the centre hands over meanwhile are put off, so that it
// keeps them; other messages from phones are answered and dropped, as the channel does.
// The error has a command_status and fixed words.
func Probe(ctx context.Context, config Config, of Account, dialer *egress.Dialer) (Probed, error) {
	config.Receipt = func(context.Context, Receipt) error { return errOnlyProbing }
	config.OptOut = func(context.Context, string, string) error { return errOnlyProbing }
	connect, err := anywhere(dialer, config.ConnectTimeout)
	if err != nil {
		return Probed{}, err
	}
	a, err := newAccount(&config, of, connect)
	if err != nil {
		return Probed{}, fmt.Errorf("smpp account %q: %w", of.Name, err)
	}
	conn, err := a.connect(ctx, a.endpoint)
	if err != nil {
		return Probed{}, errors.New(reason(err))
	}
	p := Probed{Connected: true}
	if a.exclusive {
		return p, conn.Close()
	}
	s, err := a.bindOn(ctx, conn)
	if err != nil {
		if refused, ok := errors.AsType[bindRefused](err); ok {
			p.Refused, p.Taken = true, refused.status == statusAlreadyBound
		}
		return p, errors.New(reason(err))
	}
	p.Bound = true
	over, end := context.WithCancel(ctx)
	end() // serve unbinds as soon as it runs
	_ = s.serve(over)
	select {
	case <-s.unbound:
		p.Unbound = true
	default:
	}
	return p, nil
}

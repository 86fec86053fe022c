package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/bench/tool"
)

const (
	// mailConnections is how many connections there are to the relay.
	mailConnections = 50
	// mailSize is what the engine makes of mailStory, in bytes, to a few more or less:
	// its link to unsubscribe has a port in it.
	mailSize   = 2630
	smtpSource = "smtp-source"
)

func mailStory() (floor.Story, error) { return floor.NewStory("MAIL-1", 1024) }

// mails is m1: everyone gets a mail through one relay, Postfix's smtp-sink.
func mails() Scenario {
	rawMail := func(name string, more ...string) Floor { return mailFloor(name, "smtp", more...) }
	return Scenario{
		ID: "m1", Title: "mails through one relay, PIPELINING, no DKIM",
		Full: Size{Targets: 20_000}, Quick: Size{Targets: 4_000}, FullS: 5, QuickS: 2,
		Engine: mailEngine,
		Results: []Result{{ID: "m1",
			Goals: []result.Goal{
				{Of: result.PerS, Against: smtpSource, Must: 1, Aim: 1},
				{Of: result.PerS, Against: raw, Must: 0, Aim: 0.6},
			},
			Floors: []Floor{mailFloor(smtpSource, smtpSource), rawMail(raw), rawMail("raw lockstep", "--lockstep")}}},
	}
}

// relayConfig makes an engine send mails to that address.
func relayConfig(address string) string {
	return fmt.Sprintf("smtp:\n  - {name: main, url: \"smtp://%s?tls=none\", from: \"Example Status <status@example.com>\", "+
		"rate: 1000000/s, burst: 1000000, connections: %d}\n", address, mailConnections)
}

// relay starts one for a contestant, or says that it can't be had.
func relay() (*tool.SMTPSink, error) {
	s, err := tool.StartSMTPSink()
	if errors.Is(err, tool.ErrNotInstalled) {
		err = fmt.Errorf("%w: %w", ErrLeftOut, err)
	}
	return s, err
}

func mailEngine(ctx context.Context, r *Rig, size Size) (_ Found, err error) {
	story, err := mailStory()
	if err != nil {
		return nil, err
	}
	sink, err := relay()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	o := outlet{channel: "smtp", story: story, arrived: sink.Mails, beside: run.Adopt("sink", sink.PID()), config: relayConfig(sink.Address)}
	m, _, err := o.tell(ctx, r, size.Targets)
	if err != nil {
		return nil, err
	}
	// The engine is gone: this is all that came.
	got, err := sink.Mails()
	if err != nil {
		return nil, err
	}
	m.Lost, m.Duplicates = max(warmTargets+size.Targets-got, 0), max(got-warmTargets-size.Targets, 0)
	return Found{"m1": m}, nil
}

// mailFloor is a floor of that kind against a relay of its own.
func mailFloor(name, kind string, more ...string) Floor {
	return Floor{name, func(ctx context.Context, r *Rig, size Size) (_ *result.Measurement, err error) {
		sink, err := relay()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, sink.Close()) }()
		args := []string{kind, "--address", sink.Address, "--count", strconv.Itoa(size.Targets),
			"--connections", strconv.Itoa(mailConnections), "--size", strconv.Itoa(mailSize)}
		m, err := r.runFloor(ctx, append(args, more...), run.Adopt("sink", sink.PID()))
		if err != nil {
			return nil, err
		}
		if got, err := sink.Mails(); err != nil || got != size.Targets {
			return nil, errors.Join(err, fmt.Errorf("the floor sent %d of %d mails", got, size.Targets))
		}
		return m, nil
	}}
}

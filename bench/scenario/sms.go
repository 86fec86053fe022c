package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
	"github.com/tocsin/tocsin/bench/result"
)

const (
	smsWindow = 100
	// smsSize is what the engine makes of smsStory, in characters of the default
	// alphabet, where brackets are two each: one segment.
	smsSize = 83
	ideal   = "window/RTT"
)

// smsStory is as short as a message has to be.
func smsStory() floor.Story {
	return floor.Story{Incident: "SMS-1", Title: "Logins fail", StartedAt: time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)}
}

// messages is s1: everyone gets an SMS over one bind, from a centre that answers at
// once, or after a while: then the window decides.
func messages(id string, hold time.Duration, full, quick Size) Scenario {
	s := Scenario{
		ID: id, Title: "SMS over one bind, window 100", Full: full, Quick: quick, FullS: 8, QuickS: 2.3,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			m, err := smsEngine(ctx, r, size, hold)
			return Found{id: m}, err
		},
		Results: []Result{{ID: id,
			Goals:  []result.Goal{{Of: result.PerS, Against: raw, Must: 0.35, Aim: 0.5}},
			Floors: []Floor{smsFloor(hold, smsWindow)}}},
	}
	if hold > 0 {
		s.Title += fmt.Sprintf(", the centre answers after %v", hold)
		s.Results[0].Goals = []result.Goal{{Of: result.PerS, Against: ideal, Must: 0.95, Aim: 0.95}}
		s.Results[0].Floors = []Floor{idealFloor(hold), smsFloor(hold, smsWindow)}
	}
	return s
}

// accountConfig makes an engine send messages to the centre at that address.
func accountConfig(address string) string {
	return fmt.Sprintf("smpp:\n  - {name: main, url: \"smpp://tocsin:secret@%s\", source: STATUS, "+
		"rate: 1000000/s, burst: 1000000, window: %d, binds: 1}\n"+
		"budgets: {smpp: {per_incident: 0, per_day: 0}}\n", address, smsWindow)
}

func smsEngine(ctx context.Context, r *Rig, size Size, hold time.Duration) (m *result.Measurement, err error) {
	c, err := r.startCentre(ctx, hold)
	if err != nil {
		return nil, err
	}
	defer c.Kill() // if it has not ended by then
	o := outlet{channel: "smpp", story: smsStory(), beside: c.Process, config: accountConfig(fmt.Sprintf("127.0.0.1:%d", c.port))}
	m, accepted, err := o.tell(ctx, r, size.Targets)
	if err != nil {
		return nil, err
	}
	report, err := c.ask(ctx, centreQuestion{o.story.Incident, accepted})
	if err != nil {
		return nil, err
	}
	if report.Delivered > 0 {
		m.WallS = report.WallS
		m.PerS = float64(report.Delivered) / m.WallS
	}
	m.Lost, m.Duplicates, m.OrderViolations = size.Targets-report.Delivered, report.Duplicates, report.OrderViolations
	m.P50MS, m.P99MS, m.Latency = report.P50MS, report.P99MS, report.Latency
	if report.Invalid > 0 {
		r.note(fmt.Sprintf("%d messages could have been shown by no phone", report.Invalid))
	}
	return m, c.close(ctx)
}

// smsFloor is the raw floor against a centre of its own.
func smsFloor(hold time.Duration, window int) Floor {
	return Floor{raw, func(ctx context.Context, r *Rig, size Size) (*result.Measurement, error) {
		c, err := r.startCentre(ctx, hold)
		if err != nil {
			return nil, err
		}
		defer c.Kill() // if it has not ended by then
		m, err := r.runFloor(ctx, []string{"smpp", "--port", strconv.Itoa(c.port), "--count", strconv.Itoa(size.Targets),
			"--window", strconv.Itoa(window), "--text", strconv.Itoa(smsSize), "--incident", smsStory().Incident}, c.Process)
		if err != nil {
			return nil, err
		}
		report, err := c.ask(ctx, centreQuestion{Incident: smsStory().Incident})
		if err == nil && (report.Delivered != size.Targets || report.Duplicates+report.Invalid > 0) {
			err = fmt.Errorf("the floor sent %d of %d messages, %d twice", report.Delivered, size.Targets, report.Duplicates)
		}
		return m, errors.Join(err, c.close(ctx))
	}}
}

// idealFloor is what the window allows: as many messages in every round trip. How long
// one takes is measured, with one message at a time; nothing else is.
func idealFloor(hold time.Duration) Floor {
	one := smsFloor(hold, 1)
	return Floor{ideal, func(ctx context.Context, r *Rig, size Size) (*result.Measurement, error) {
		const trips = 50
		m, err := one.Run(ctx, r, Size{Targets: trips})
		if err != nil {
			return nil, err
		}
		perS := smsWindow * m.PerS
		return &result.Measurement{Deliveries: size.Targets, Figures: result.Figures{PerS: perS, WallS: float64(size.Targets) / perS}}, nil
	}}
}

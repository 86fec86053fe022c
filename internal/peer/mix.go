package peer

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Mix deals out behaviours to targets by their number. The zero Mix makes every
// target OK.
type Mix struct {
	// Shares are dealt in order; what they leave is OK.
	Shares []Share
	// Hold is how long OK targets wait before they answer.
	Hold time.Duration
}

// Share is the part of the targets that behaves in one way.
type Share struct {
	Kind    Kind
	Percent float64
	// Min and Max bound a delay, dealt evenly: After of Slow targets,
	// RetryAfter of Throttled ones. Others have none.
	Min, Max time.Duration
	// Times is for Throttled and Faulty.
	Times int
}

// share is what a kind gets that is named with a percentage alone.
func (k Kind) share() Share {
	switch k {
	case Slow:
		return Share{Kind: k, Min: 300 * time.Millisecond, Max: 2 * time.Second}
	case Throttled:
		return Share{Kind: k, Min: time.Second, Max: 2 * time.Second, Times: 1}
	case Faulty:
		return Share{Kind: k, Times: 1}
	}
	return Share{Kind: k}
}

// Behaviour returns how target n behaves under the mix. It is a [Script].
//
// The numbers 1 … N get shares that are exact to a few targets for every N:
// multiples of the golden ratio spread evenly over the unit interval.
func (m Mix) Behaviour(n int) Behaviour {
	const golden = 0x9E3779B97F4A7C15
	place := uint64(n) * golden
	percent := fraction(place) * 100
	for _, s := range m.Shares {
		if percent >= s.Percent {
			percent -= s.Percent
			continue
		}
		b := Behaviour{Kind: s.Kind, Times: s.Times}
		delay := s.Min + time.Duration(fraction(bits.Reverse64(place*golden))*float64(s.Max-s.Min))
		switch s.Kind {
		case OK:
			b.After = m.Hold
		case Slow:
			b.After = delay
		case Throttled:
			b.RetryAfter = delay
		}
		return b
	}
	return Behaviour{Kind: OK, After: m.Hold}
}

func fraction(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// DefaultMix is the demo's: nine in ten are well, the others fail in every way
// that a webhook can.
func DefaultMix() Mix {
	mix, err := ParseMix("slow=3,429=2,500=2,silent=1.5,dead=1,reset=0.5")
	if err != nil {
		panic("peer: the default mix is at fault: " + err.Error())
	}
	return mix
}

// ParseMix reads a mix such as
//
//	slow=3:300ms-2s,429=2:1s-2s:x1,500=2,silent=1.5,dead=1,reset=0.5
//
// that is: kind=percent, then after colons a delay or a range of them (slow,
// 429) and how many requests are refused first (429, 500). What is left of 100
// percent is ok. Errors are sentences that quote the part at fault.
func ParseMix(text string) (Mix, error) {
	var m Mix
	var sum float64
	seen := make(map[Kind]bool)
	if strings.TrimSpace(text) == "" {
		return m, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseShare(strings.TrimSpace(part))
		if err != nil {
			return Mix{}, fmt.Errorf("mix: %q %w", part, err)
		}
		if seen[s.Kind] {
			return Mix{}, fmt.Errorf("mix: %q is there twice; name each kind once", s.Kind)
		}
		seen[s.Kind] = true
		if sum += s.Percent; sum > 100 {
			return Mix{}, errors.New("mix: the shares are more than 100 percent together; make some smaller")
		}
		m.Shares = append(m.Shares, s)
	}
	return m, nil
}

func parseShare(part string) (Share, error) {
	name, rest, ok := strings.Cut(part, "=")
	if !ok {
		return Share{}, errors.New("must be kind=percent, as in slow=3")
	}
	kind, ok := kindOf(name)
	if !ok {
		return Share{}, errors.New("names no kind; use ok, slow, 429, 500, silent, dead, gone or reset")
	}
	s := kind.share()
	fields := strings.Split(rest, ":")
	percent, err := strconv.ParseFloat(fields[0], 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return Share{}, errors.New("must have a percentage from 0 to 100 after the =")
	}
	s.Percent = percent
	for _, f := range fields[1:] {
		if err := s.parseDetail(f); err != nil {
			return Share{}, err
		}
	}
	return s, nil
}

// maxDelay and maxTimes keep a mix within what a test can wait for.
const (
	maxDelay = time.Hour
	maxTimes = 1000
)

func (s *Share) parseDetail(f string) error {
	if times, ok := strings.CutPrefix(f, "x"); ok {
		n, err := strconv.Atoi(times)
		if err != nil || n < 1 || n > maxTimes || s.Times == 0 {
			return errors.New("may have a number of refusals, as in x2, for 429 and 500 only")
		}
		s.Times = n
		return nil
	}
	if s.Max == 0 {
		return errors.New("may have a delay for slow and 429 only")
	}
	from, to, ranged := strings.Cut(f, "-")
	if !ranged {
		to = from
	}
	shortest, err1 := time.ParseDuration(from)
	longest, err2 := time.ParseDuration(to)
	if err1 != nil || err2 != nil || shortest < 0 || longest < shortest || longest == 0 || longest > maxDelay {
		return errors.New("must have a delay or a range of delays up to 1h, as in 300ms-2s")
	}
	s.Min, s.Max = shortest, longest
	return nil
}

func kindOf(name string) (Kind, bool) {
	for k := range kinds {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// String returns the mix as [ParseMix] reads it, without Hold.
func (m Mix) String() string {
	var b strings.Builder
	for i, s := range m.Shares {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s=%s", s.Kind, strconv.FormatFloat(s.Percent, 'f', -1, 64))
		if s.Max > 0 {
			fmt.Fprintf(&b, ":%s-%s", s.Min, s.Max)
		}
		if s.Times > 0 {
			fmt.Fprintf(&b, ":x%d", s.Times)
		}
	}
	return b.String()
}

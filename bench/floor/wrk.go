package floor

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// wrkReport is what wrk --latency prints.
type wrkReport struct {
	p50, p99 time.Duration
	answers  int
	bytes    float64 // read, in three digits
	// refused are answers that are neither 2xx nor 3xx; broken are connections, reads
	// and writes that failed. An answer that took longer than 2 s is no error.
	refused, broken int
}

var errWrk = errors.New("wrk printed something else than wrk 4 does")

// parseWrk reads what wrk printed.
func parseWrk(text string) (wrkReport, error) {
	s := wrkScanner{text: text}
	r := wrkReport{p50: s.duration(`^ *50% +(\S+)$`), p99: s.duration(`^ *99% +(\S+)$`)}
	volume := s.find(`^ *(\d+) requests in \S+, ([0-9.]+)([KMGT]?)B read$`)
	if volume == nil || r.p50 < 0 || r.p99 < 0 {
		return wrkReport{}, errWrk
	}
	r.answers = s.number(volume[0])
	var err error
	if r.bytes, err = strconv.ParseFloat(volume[1], 64); err != nil {
		return wrkReport{}, errWrk
	}
	r.bytes *= map[string]float64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[volume[2]]
	// These two lines are there only if there is something to say.
	if f := s.find(`^ *Non-2xx or 3xx responses: (\d+)$`); f != nil {
		r.refused = s.number(f[0])
	}
	if f := s.find(`^ *Socket errors: connect (\d+), read (\d+), write (\d+), timeout \d+$`); f != nil {
		r.broken = s.number(f[0]) + s.number(f[1]) + s.number(f[2])
	}
	if s.failed || r.refused > r.answers {
		return wrkReport{}, errWrk
	}
	return r, nil
}

// wrkScanner finds lines in what wrk printed.
type wrkScanner struct {
	text   string
	failed bool
}

// find returns the groups of the line that matches, nil if there is none.
func (s *wrkScanner) find(line string) []string {
	f := regexp.MustCompile(`(?m)` + line).FindStringSubmatch(s.text)
	if f == nil {
		return nil
	}
	return f[1:]
}

func (s *wrkScanner) number(digits string) int {
	const most = 1 << 40 // so that sums fit
	n, err := strconv.Atoi(digits)
	s.failed = s.failed || err != nil || n > most
	return n
}

func (s *wrkScanner) duration(line string) time.Duration {
	f := s.find(line)
	if f == nil {
		s.failed = true
		return 0
	}
	d, err := time.ParseDuration(f[0]) // us, ms, s, m and h are Go's, too
	s.failed = s.failed || err != nil
	return d
}

// result holds the answers against what one of them is like. wrk can't tell a 200 from
// a 304, but their sizes can.
func (r *wrkReport) result(watch *stopwatch, like sample) (Result, error) {
	good := r.answers - r.refused
	out := watch.result(good)
	out.Errors = r.refused + r.broken
	out.P50MS, out.P99MS = float64(r.p50.Microseconds())/1000, float64(r.p99.Microseconds())/1000
	const mostOfHead = 1 << 10
	mean := r.bytes / float64(max(r.answers, 1))
	switch {
	case out.Errors > 0:
		return out, fmt.Errorf("%d answers were neither 200 nor 304, and %d connections, reads or writes failed", r.refused, r.broken)
	case good == 0:
		return out, errors.New("there was no answer at all")
	// wrk rounds what it read to three digits.
	case mean < 0.99*float64(like.body) || mean > 1.01*float64(like.body+mostOfHead):
		return out, fmt.Errorf("answers have %.0f bytes where one has %d and its head: they were not all the same", mean, like.body)
	}
	return out, nil
}

package webhook

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// judge puts a reply into its class.
func (x *exchange) judge(r *reply) {
	switch {
	case r.status == 0:
		x.result = temporary(r.problem)
	case r.status/100 == 2:
		x.result = channels.Result{Class: channels.Delivered}
	default:
		x.refused(r)
	}
}

// refused puts a reply into its class that is no 2xx.
func (x *exchange) refused(r *reply) {
	pause := retryAfter(r.retryAfter, x.channel.config.Clock())
	x.result = channels.Result{Class: classOf(r.status, pause)}
	if x.result.Class == channels.Throttled {
		x.result.RetryAfter = pause
	}
	cause := "http " + strconv.Itoa(r.status)
	switch {
	case r.status < 200:
		cause += ": not a final answer"
	case r.status >= 600:
		cause += ": not a status of HTTP"
	case r.status/100 == 3:
		cause += ": redirects are not followed"
	}
	x.result.Detail = detail(cause, channels.Words{Text: r.words, More: r.more || len(r.words) == maxWords}, x.message.Secrets, x.url)
}

// classOf decides by the status; pause is what a valid Retry-After asked for, or 0.
func classOf(status int, pause time.Duration) channels.Class {
	switch {
	case status/100 == 2:
		return channels.Delivered
	case status == http.StatusGone:
		return channels.Gone
	case status == http.StatusTooManyRequests,
		status == http.StatusServiceUnavailable && pause > 0:
		return channels.Throttled
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status >= 500, status < 200:
		return channels.Temporary
	}
	return channels.Permanent
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3), seconds or a
// date, and clamps it to 1 s … 1 h; 0 if it is neither.
func retryAfter(header []byte, now time.Time) time.Duration {
	if len(header) == 0 {
		return 0
	}
	text := string(header)
	digits := 0
	for digits < len(text) && digit(text[digits]) {
		digits++
	}
	pause := time.Hour
	if digits < len(text) {
		date, err := http.ParseTime(text)
		if err != nil {
			return 0
		}
		pause = date.Sub(now)
	} else if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		pause = time.Duration(seconds) * time.Second
	} // else more seconds than any clock will see
	return min(max(pause, time.Second), time.Hour)
}

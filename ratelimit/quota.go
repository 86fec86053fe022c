package ratelimit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Quota is a number of messages in a time; the zero value is no bound.
type Quota struct {
	Messages int
	Every    time.Duration
}

// ParseQuota reads a quota such as "1/10m": 1 to 1,000 messages in 1 s to 24 h. "0" is
// none. Its error completes the sentence that a setting's name begins.
func ParseQuota(text string) (Quota, error) {
	if text == "0" {
		return Quota{}, nil
	}
	number, every, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	d, errEvery := time.ParseDuration(every)
	if err != nil || errEvery != nil || n < 1 || n > 1000 || d < time.Second || d > 24*time.Hour {
		return Quota{}, errors.New("must be 1 to 1000 messages in a time from 1s to 24h, such as 1/10m, or 0 for no bound")
	}
	return Quota{n, d}, nil
}

// String writes what ParseQuota reads.
func (q Quota) String() string {
	if q.Messages == 0 {
		return "0"
	}
	every := q.Every.String()
	for _, nought := range []string{"m0s", "h0m"} { // 10m0s, 1h0m0s
		if strings.HasSuffix(every, nought) {
			every = every[:len(every)-2]
		}
	}
	return fmt.Sprintf("%d/%s", q.Messages, every)
}

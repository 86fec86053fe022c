package config

import (
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

// Budgets bound what a storm of updates sends, by channel.
type Budgets struct {
	Webhook Budget `yaml:"webhook"`
	SMTP    Budget `yaml:"smtp"`
	SMPP    Budget `yaml:"smpp"`
}

// Budget is that of one channel; 0 bounds nothing.
type Budget struct {
	// PerIncident bounds the messages of one incident to one target.
	PerIncident Quota `yaml:"per_incident"`
	// PerHour and PerDay bound all messages, by hours and days in UTC.
	PerHour int `yaml:"per_hour" min:"0" max:"1000000000"`
	PerDay  int `yaml:"per_day" min:"0" max:"1000000000"`
}

// Quota is a [ratelimit.Quota].
type Quota ratelimit.Quota

// UnmarshalText reads "1/10m", or "0" for no bound.
func (q *Quota) UnmarshalText(text []byte) error {
	parsed, err := ratelimit.ParseQuota(string(text))
	*q = Quota(parsed)
	return err
}

// MarshalText writes what UnmarshalText reads.
func (q Quota) MarshalText() ([]byte, error) { return []byte(ratelimit.Quota(q).String()), nil }

// defaultBudgets bound what is paid for by the message and wakes people up.
func defaultBudgets() Budgets {
	return Budgets{SMPP: Budget{PerIncident: Quota{Messages: 1, Every: 10 * time.Minute}, PerDay: 100_000}}
}

package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin/tocsin/incident"
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
	// PerTarget bounds the messages of all incidents to one target.
	PerTarget Quota `yaml:"per_target"`
	// Bound is of all messages on the channel.
	Bound `yaml:",inline"`
}

// Bound bounds messages by hours and days in UTC; 0 bounds nothing.
type Bound struct {
	PerHour int `yaml:"per_hour" min:"0" max:"1000000000"`
	PerDay  int `yaml:"per_day" min:"0" max:"1000000000"`
}

// ByChannel returns them by the names of their channels.
func (b *Budgets) ByChannel() map[string]*Budget {
	return map[string]*Budget{incident.ChannelWebhook: &b.Webhook, incident.ChannelSMTP: &b.SMTP, incident.ChannelSMPP: &b.SMPP}
}

// ProviderBudgets returns the budgets that providers of a channel have of their own, by
// their keys in the file; those without a bound are left out.
func (c *Config) ProviderBudgets(channel string) map[string]Bound {
	all := make(map[string]Bound)
	switch channel {
	case incident.ChannelWebhook:
		for name, h := range c.Webhook.Hosts {
			all["webhook.hosts["+named(name)+"].budget"] = h.Budget
		}
	case incident.ChannelSMTP:
		for i, r := range c.SMTP {
			all[fmt.Sprintf("smtp[%d].budget", i)] = r.Budget
		}
	case incident.ChannelSMPP:
		for i, a := range c.SMPP {
			all[fmt.Sprintf("smpp[%d].budget", i)] = a.Budget
		}
	}
	maps.DeleteFunc(all, func(_ string, b Bound) bool { return b == Bound{} })
	return all
}

// checkBudgets refuses bounds that others never let be reached: whoever wrote them
// believes in something else than what would happen.
func (c *Config) checkBudgets(f *faults) {
	for _, channel := range slices.Sorted(maps.Keys(c.Budgets.ByChannel())) {
		b, key := c.Budgets.ByChannel()[channel], "budgets."+channel
		b.check(f, key)
		if one, all := b.PerIncident, b.PerTarget; all.Messages > 0 && one.Messages > all.Messages && one.Every <= all.Every {
			f.at(key+".per_incident", "must not be more than per_target has for all incidents, which is %s", ratelimit.Quota(all))
		}
		own := c.ProviderBudgets(channel)
		for _, k := range slices.Sorted(maps.Keys(own)) {
			p := own[k]
			p.check(f, k)
			for _, of := range []struct {
				name     string
				own, all int
			}{{"per_hour", p.PerHour, cmp.Or(b.PerHour, b.PerDay)}, {"per_day", p.PerDay, b.PerDay}} {
				if of.all > 0 && of.own > of.all {
					f.at(k+"."+of.name, "must not be more than the %d that %s has for all together; raise that one", of.all, key)
				}
			}
		}
	}
}

func (b Bound) check(f *faults, key string) {
	if b.PerDay > 0 && b.PerHour > b.PerDay {
		f.at(key+".per_hour", "must not be more than per_day, which is %d", b.PerDay)
	}
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

// defaultBudgets bound what is paid for by the message and wakes people up. More than one
// SMS an hour, day and night, is no day but a storm.
func defaultBudgets() Budgets {
	return Budgets{SMPP: Budget{PerIncident: Quota{Messages: 1, Every: 10 * time.Minute}, PerTarget: Quota{Messages: 30, Every: 24 * time.Hour}, Bound: Bound{PerDay: 100_000}}}
}

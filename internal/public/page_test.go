package public

import (
	"testing"

	"github.com/tocsin/tocsin/incident"
)

func TestAddressesAreMasked(t *testing.T) {
	for _, c := range []struct{ channel, address, want string }{
		{incident.ChannelSMTP, "operations@example.com", "o…@example.com"},
		{incident.ChannelSMTP, "ab@example.com", "a…@example.com"},
		{incident.ChannelSMTP, "a@example.com", "…@example.com"},
		{incident.ChannelSMTP, "", "…@"},
		{incident.ChannelSMPP, "+4915112345678", "+…78"},
		{incident.ChannelSMPP, "", "+…"},
		{incident.ChannelWebhook, "https://hooks.example.com:8443/services/T0/secret", "hooks.example.com:8443"},
		{incident.ChannelWebhook, "https://user:pw@hooks.example.com?token=secret", "hooks.example.com"},
		{incident.ChannelWebSub, "https://hub.example.com/callback", "hub.example.com"},
		{incident.ChannelRSS, "eu-west", "eu-west"},
	} {
		s := Describe(&incident.Target{Page: "p", Channel: c.channel, Address: c.address, State: incident.StateUnsubscribed})
		if s != (Subscription{Page: "p", Channel: c.channel, Address: c.want, Ended: true}) {
			t.Errorf("%s target: %+v, want %q", c.channel, s, c.want)
		}
	}
	if Describe(&incident.Target{State: incident.StateActive}).Ended {
		t.Error("an active target has ended")
	}
}

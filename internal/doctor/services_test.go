package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/tocsin/tocsin/internal/config"
)

func TestBrokers(t *testing.T) {
	good := Broker{Product: "RabbitMQ", Version: "3.10.8", Queues: 7}
	for name, tc := range map[string]struct {
		change  func(b *Broker)
		running bool
		check   string
		want    Result
		found   string
	}{
		"good":             {func(*Broker) {}, false, "broker", OK, "RabbitMQ 3.10.8"},
		"not declared":     {func(b *Broker) { b.Missing = 7 }, false, "broker queues", OK, "none yet"},
		"refused":          {func(b *Broker) { *b = Broker{Err: errBroken, Refused: true} }, false, "broker", Failure, "broken"},
		"away":             {func(b *Broker) { *b = Broker{Err: errBroken} }, false, "broker", Failure, "broken"},
		"lost on the way":  {func(b *Broker) { b.Err = errBroken }, false, "broker", Failure, "RabbitMQ 3.10.8: broken"},
		"old":              {func(b *Broker) { b.Version = "3.9.29" }, false, "broker", Failure, "3.9.29"},
		"new":              {func(b *Broker) { b.Version = "4.2.0-rc.1" }, false, "broker", OK, "4.2.0-rc.1"},
		"odd version":      {func(b *Broker) { b.Version = "main" }, false, "broker", OK, "main"},
		"alarm":            {func(b *Broker) { b.Alarm = "low on disk" }, false, "broker", Failure, "alarm: low on disk"},
		"alarm, untried":   {func(b *Broker) { b.Alarm = "low on disk" }, false, "broker permissions", Skipped, "alarm"},
		"denied":           {func(b *Broker) { b.Denied = []string{"configure", "write"} }, false, "broker permissions", Failure, "configure, write"},
		"other arguments":  {func(b *Broker) { b.Different = []string{"tocsin.parked"} }, false, "broker queues", Failure, "tocsin.parked"},
		"parked":           {func(b *Broker) { b.Parked = 3 }, false, "broker queues", Warning, "7 of 7 declared, 3 parked"},
		"another engine":   {func(b *Broker) { b.Owned = true }, false, "broker queues", Warning, "another data folder"},
		"our engine":       {func(b *Broker) { b.Owned = true }, true, "broker queues", OK, "7 of 7"},
		"deleted under it": {func(b *Broker) { b.Owned, b.Missing = true, 1 }, true, "broker queues", Warning, "6 of 7"},
	} {
		t.Run(name, func(t *testing.T) {
			b := good
			tc.change(&b)
			for _, f := range judgeBroker(b, tc.running) {
				if f.Check == tc.check {
					wantFinding(t, f, tc.want, tc.found)
					return
				}
			}
			t.Errorf("nothing is said of %s", tc.check)
		})
	}
}

func TestRelays(t *testing.T) {
	good := Relay{Encrypted: true, Certificate: noon.AddDate(0, 3, 0), LoggedIn: true, Pipelining: true}
	fixes := make(map[string]bool)
	for name, tc := range map[string]struct {
		change func(r *Relay)
		want   Result
		found  string
	}{
		"good":          {func(*Relay) {}, OK, "TLS until 2027-02-21, logged in, PIPELINING"},
		"local":         {func(r *Relay) { *r = Relay{} }, OK, "not encrypted, no login, no PIPELINING"},
		"soon expired":  {func(r *Relay) { r.Certificate = noon.AddDate(0, 0, 13) }, Warning, "TLS until 2026-12-04"},
		"not there":     {func(r *Relay) { r.Err, r.Step = errBroken, "connecting" }, Failure, "broken"},
		"no TLS":        {func(r *Relay) { r.Err, r.Step = errBroken, "STARTTLS" }, Failure, "broken"},
		"wrong user":    {func(r *Relay) { r.Err, r.Step = errBroken, "AUTH" }, Failure, "broken"},
		"wrong service": {func(r *Relay) { r.Err, r.Step = errBroken, "the greeting" }, Failure, "broken"},
	} {
		r := good
		tc.change(&r)
		f := judgeRelay(r, config.SMTP{Name: "main"}, noon)
		wantFinding(t, f, tc.want, tc.found)
		if f.Result == Failure && fixes[f.Fix] {
			t.Errorf("%s: its fix is that of another step: %s", name, f.Fix)
		}
		fixes[f.Fix] = true
	}
}

func TestCentres(t *testing.T) {
	for name, tc := range map[string]struct {
		c         Centre
		exclusive bool
		want      Result
		found     string
	}{
		"good":           {Centre{Connected: true, Bound: true, Unbound: true}, false, OK, "bound and unbound"},
		"impolite":       {Centre{Connected: true, Bound: true}, false, OK, "unanswered"},
		"exclusive":      {Centre{Connected: true}, true, Skipped, "exclusive"},
		"exclusive away": {Centre{Err: errBroken}, true, Failure, "broken"},
		"away":           {Centre{Err: errBroken}, false, Failure, "broken"},
		"refused":        {Centre{Connected: true, Refused: true, Err: errBroken}, false, Failure, "broken"},
		"taken":          {Centre{Connected: true, Refused: true, Taken: true, Err: errBroken}, false, Skipped, "ESME_RALYBND"},
		"not SMPP":       {Centre{Connected: true, Err: errBroken}, false, Failure, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			wantFinding(t, judgeCentre(tc.c, config.SMPP{Name: "acme", Exclusive: tc.exclusive}), tc.want, tc.found)
		})
	}
}

func TestNames(t *testing.T) {
	o := options(t, everything)
	wantFinding(t, examine(t, o)["names"], OK, "broker.example.com, relay.example.com, smsc.example.com")
	o = options(t, "smtp: [{name: main, url: \"smtp://relay.invalid\", from: s@example.com}, {name: b, url: \"smtp://127.0.0.1\", from: s@example.com}]")
	wantFinding(t, examine(t, o)["names"], Failure, "relay.invalid: no such host")
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, context.DeadlineExceeded }
	wantFinding(t, examine(t, o)["names"], Failure, "doesn't answer in time")
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, &net.DNSError{IsTimeout: true} }
	wantFinding(t, examine(t, o)["names"], Failure, "the name server doesn't answer")
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("odd") }
	wantFinding(t, examine(t, o)["names"], Failure, "has a failure")
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, nil }
	wantFinding(t, examine(t, o)["names"], Failure, "has no address")
	wantFinding(t, examine(t, options(t, ""))["names"], Skipped, "no such names")
}

func TestWebhookHosts(t *testing.T) {
	for host, want := range map[string]string{
		"hooks.example.com":      "",
		"hooks.example.com:8443": "",
		"hooks.example.com:9999": "hooks.example.com:9999: must use one of the ports",
		"nowhere.invalid":        "no such host",
		"10.1.2.3:8443":          "must lead to a public address",
		"intranet":               "must have a full host name",
	} {
		o := options(t, "webhook: {hosts: {\""+host+"\": {rate: 1/s}}}")
		r := OK
		if want != "" {
			r = Warning
		}
		wantFinding(t, examine(t, o)["webhook hosts"], r, want)
	}
	o := options(t, "webhook: {hosts: {hooks.example.com: {rate: 1/s}}}")
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.1")}, nil
	}
	wantFinding(t, examine(t, o)["webhook hosts"], Warning, "egress does not allow")
	wantFinding(t, examine(t, options(t, ""))["webhook hosts"], Skipped, "empty")
}

func TestPublicURL(t *testing.T) {
	mails := &config.Config{SMTP: []config.SMTP{{}}}
	for at, want := range map[string][2]Result{ // with mails, and without
		"https://status.example.com": {OK, OK},
		"http://status.example.com":  {Warning, Warning},
		"http://127.0.0.1:8080":      {Warning, OK},
		"http://[::1]:8080":          {Warning, OK},
		"https://10.0.0.7":           {Warning, OK},
		"https://status":             {Warning, OK},
		"http://localhost:8080":      {Warning, OK},
		"http://0.0.0.0:8081":        {Warning, OK},
		"https://%zz":                {Failure, Failure},
		"https://s.example.com/?q=1": {Failure, Failure},
		"https://me@s.example.com":   {Failure, Failure},
	} {
		if got := judgePublicURL(at, mails); got.Result != want[0] {
			t.Errorf("%s, with mails: %+v", at, got)
		}
		if got := judgePublicURL(at, &config.Config{}); got.Result != want[1] {
			t.Errorf("%s: %+v", at, got)
		}
	}
}

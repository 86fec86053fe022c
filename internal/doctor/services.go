package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/config"
)

// Broker is what a look at the broker found.
type Broker struct {
	// Err is why there is nothing to say; Refused, that the broker did not let the
	// user in.
	Err     error
	Refused bool
	// Version is the broker's, Product its name.
	Product, Version string
	// Alarm is why it takes no messages.
	Alarm string
	// Denied are the permissions that the user lacks, Different the queues with
	// other arguments than the engine needs.
	Denied, Different []string
	// Missing of Queues aren't there yet.
	Missing, Queues int
	// Owned says that an engine of this deployment is there; Parked is how many
	// messages were given up.
	Owned  bool
	Parked int
}

func (x *examination) broker(ctx context.Context) []Finding {
	if x.Config.Queue == config.Embedded {
		return one(Finding{Check: "broker"}.skip("the queue is embedded"))
	}
	return judgeBroker(x.Broker(ctx), x.held())
}

// judgeBroker says more than one thing: a broker that lets us in may still be wrong in
// several ways. running says that an engine has the data folder.
func judgeBroker(b Broker, running bool) []Finding {
	f := Finding{Check: "broker", Wanted: "RabbitMQ 3.10 or later that takes messages"}
	name := strings.TrimSpace(b.Product + " " + b.Version)
	switch {
	case b.Refused:
		f.Effect = "the engine doesn't start"
		f.Fix = "check user, password and virtual host in queue; docs/producers.md has the commands that make them"
		return one(f.fail(b.Err.Error()))
	case b.Err != nil && b.Version == "":
		f.Effect = "the engine doesn't start; in one that runs intake answers 503 and what is held goes on"
		f.Fix = "start RabbitMQ, or correct the address in queue; see that no firewall is in between"
		return one(f.fail(b.Err.Error()))
	case b.Err != nil:
		f.Effect = "the engine may not start"
		f.Fix = "see the broker's log"
		return one(f.fail(name + ": " + b.Err.Error()))
	}
	switch {
	case tooOld(b.Version):
		f.Effect = "quorum queues lack what the engine needs: it doesn't start, or loses what comes back too often"
		f.Fix = "upgrade the broker"
		f = f.fail(name)
	case b.Alarm != "":
		f.Effect = "it takes no messages: HTTP intake answers 503, producers wait, retries stay in the ledger"
		f.Fix = "free memory or disk where the broker runs; rabbitmqctl status says how much it wants"
		f = f.fail(name + ", alarm: " + b.Alarm)
	default:
		f = f.ok(name)
	}
	return []Finding{f, judgePermissions(b), judgeQueues(b, running)}
}

// tooOld reads "3.10.8"; what is no number is not too old.
func tooOld(version string) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	return err == nil && err2 == nil && (major < 3 || major == 3 && minor < 10)
}

func judgePermissions(b Broker) Finding {
	f := Finding{
		Check: "broker permissions", Wanted: `configure, write and read on ^tocsin\.`,
		Effect: "the engine doesn't start",
		Fix:    `rabbitmqctl set_permissions -p VHOST USER '^tocsin\.' '^(tocsin\.|amq\.default$)' '^tocsin\.'`,
	}
	switch {
	case b.Alarm != "" && len(b.Denied) == 0:
		return f.skip("can't be tried during an alarm")
	case len(b.Denied) > 0:
		return f.fail("no permission to " + strings.Join(b.Denied, ", "))
	}
	return f.ok("configure, write, read")
}

func judgeQueues(b Broker, running bool) Finding {
	f := Finding{Check: "broker queues", Wanted: "declared as in docs/producers.md, nothing parked"}
	found := fmt.Sprintf("%d of %d declared", b.Queues-b.Missing, b.Queues)
	if b.Missing == b.Queues {
		found = "none yet, the engine declares them"
	}
	switch {
	case len(b.Different) > 0:
		f.Effect = "the engine doesn't start"
		f.Fix = "empty and remove these queues, or set deployment to a name of its own"
		return f.fail("with other arguments: " + strings.Join(b.Different, ", "))
	case b.Missing > 0 && (b.Owned || running) && b.Missing < b.Queues:
		f.Effect = "what was in them is gone from the broker; batches come again from the ledger"
		f.Fix = "nothing now: the engine declares them with its next connection; don't delete queues while it runs"
		return f.warn(found)
	case b.Owned && !running:
		f.Effect = "an engine with this data folder doesn't start"
		f.Fix = "stop the other engine, or set deployment to a name of its own"
		return f.warn(found + "; an engine of this deployment runs with another data folder")
	case b.Parked > 0:
		f.Effect = "these were given up after 20 tries; the ledger sends its deliveries again, events among them need you"
		f.Fix = "look at the queue's messages, their x-death header says where they came from; then purge it"
		return f.warn(fmt.Sprintf("%s, %s parked", found, count(b.Parked)))
	}
	return f.ok(found)
}

// Relay is how far a session with a mail relay came.
type Relay struct {
	// Err is why it did not come to its end, Step where: "connecting", "STARTTLS",
	// "AUTH" and so on.
	Err  error
	Step string
	// Encrypted says that there is TLS, with a certificate that ends then.
	Encrypted   bool
	Certificate time.Time
	LoggedIn    bool
	Pipelining  bool
}

// certificateSoon is how long before its end a certificate is a warning.
const certificateSoon = 14 * 24 * time.Hour

func judgeRelay(r Relay, of config.SMTP, now time.Time) Finding {
	f := Finding{
		Check: "relay " + of.Name, Wanted: "connects, encrypted, logged in, PIPELINING",
		Effect: "mails by it wait and are tried again until they expire, or go by the next relay",
	}
	if r.Err != nil {
		switch r.Step {
		case "connecting":
			f.Fix = "correct host and port of its url, start the relay, or open the firewall"
		case "STARTTLS":
			f.Fix = "give the relay a certificate for the name in its url that this machine trusts, or say tls=implicit or tls=none in the url"
		case "AUTH":
			f.Fix = "correct user and password in its url, or ask whose relay it is what it takes"
		default:
			f.Fix = "see the relay's log"
		}
		return f.fail(r.Err.Error())
	}
	var found []string
	if r.Encrypted {
		found = append(found, "TLS until "+r.Certificate.UTC().Format(time.DateOnly))
	} else {
		found = append(found, "not encrypted")
	}
	if r.LoggedIn {
		found = append(found, "logged in")
	} else {
		found = append(found, "no login")
	}
	if r.Pipelining {
		found = append(found, "PIPELINING")
	} else {
		found = append(found, "no PIPELINING (two to three times slower)")
	}
	text := strings.Join(found, ", ")
	if r.Encrypted && r.Certificate.Sub(now) < certificateSoon {
		f.Effect = "then its certificate is refused, and mails wait"
		f.Fix = "renew the relay's certificate"
		return f.warn(text)
	}
	return f.ok(text)
}

// Centre is how far a bind at an SMS centre came.
type Centre struct {
	// Err is why it did not come to its end; Connected says that the centre was
	// there, Refused that it answered the bind with a no, and Taken that it did so
	// because it has a bind.
	Err                       error
	Connected, Refused, Taken bool
	// Bound and Unbound say what worked.
	Bound, Unbound bool
}

func (x *examination) centre(ctx context.Context, a config.SMPP) Finding {
	return judgeCentre(x.Centre(ctx, a.Name), a)
}

func judgeCentre(c Centre, of config.SMPP) Finding {
	f := Finding{
		Check: "SMS centre " + of.Name, Wanted: "connects, binds as a transceiver, unbinds",
		Effect: "texts by it wait and are tried again until they expire, or go by the next account",
	}
	switch {
	case c.Err != nil && !c.Connected:
		f.Fix = "correct host and port of its url, or ask the centre whether this address may connect"
		return f.fail(c.Err.Error())
	case c.Taken:
		return f.skip("connects; the centre has a bind of this account and takes no other (ESME_RALYBND): mark it exclusive, if that is how it is")
	case c.Refused:
		f.Fix = "correct system_id and password in its url, or ask the centre how many binds it allows"
		return f.fail(c.Err.Error())
	case c.Err != nil:
		f.Fix = "see that the port is one for SMPP (3.4), and TLS where the centre wants it"
		return f.fail(c.Err.Error())
	case of.Exclusive && !c.Bound:
		return f.skip("connects; not bound, because the account is exclusive: the centre might end the engine's bind")
	case !c.Unbound:
		return f.ok("bound; the centre left the unbind unanswered")
	}
	return f.ok("bound and unbound")
}

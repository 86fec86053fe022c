package rabbitmq

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
	"github.com/tocsin/tocsin/queue"
)

func TestSecondOwnerIsRefused(t *testing.T) {
	o := testOptions(t, testenv.Vhost(t))
	o.Exclusive = true
	first := open(t, o)
	hasty := o
	hasty.OwnerPatience = 300 * time.Millisecond
	_, err := Open(patience(t), hasty)
	if err == nil || !strings.Contains(err.Error(), "tocsin.owner.default") || !strings.Contains(err.Error(), "stop it") {
		t.Fatalf("the second process got %v, want a refusal that says what to do", err)
	}
	other := o
	other.Deployment = "other"
	open(t, other)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	open(t, o) // the place is free again
}

func TestOwnerComesBackAfterALostLink(t *testing.T) {
	p, url := testenv.NewProxy(t, testenv.Vhost(t))
	o := testOptions(t, url)
	o.Exclusive = true
	b := open(t, o)
	for range 3 {
		p.Cut()
		if err := b.Ready(patience(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefusesForGood(t *testing.T) {
	vhost := testenv.Vhost(t)
	mismatch := testenv.Vhost(t)
	if _, err := peer(t, mismatch).QueueDeclare("tocsin.parked", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(vhost)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("guest", "a-wrong-secret")
	for name, c := range map[string]struct{ url, says string }{
		"password":        {u.String(), "refuses user, password or virtual host"},
		"other arguments": {mismatch, "exists with other arguments"},
	} {
		_, err := Open(patience(t), testOptions(t, c.url))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "a-wrong-secret") {
			t.Errorf("%s: the error tells the password", name)
		}
	}
}

func TestOpenWithoutBroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Open(ctx, testOptions(t, "amqp://guest:secret@127.0.0.1:1/"))
	if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want ErrUnavailable with the reason", err)
	}
}

func TestOptionsThatCantWork(t *testing.T) {
	const good = "amqp://guest:topsecret@127.0.0.1/"
	for name, o := range map[string]Options{
		"no URL":           {},
		"not AMQP":         {URL: "http://guest:topsecret@127.0.0.1/"},
		"broken URL":       {URL: "amqp://guest:topsecret@127.0.0.1:port/"},
		"control byte":     {URL: "amqp://guest:topsecret@127.0.0.1\x7f/"},
		"deployment":       {URL: good, Deployment: "Two Words"},
		"dots":             {URL: good, Deployment: "incidents.invalid"},
		"reserved":         {URL: good, Deployment: "deliver"},
		"group of nothing": {URL: good, Groups: []string{""}},
		"endless group":    {URL: good, Groups: []string{strings.Repeat("g", 181)}},
	} {
		_, err := o.withDefaults()
		if err == nil {
			t.Errorf("%s: was taken", name)
		} else if strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
	if _, err := (Options{URL: good, Deployment: "eu-1", Groups: []string{"webhook", "smpp:acme"}}).withDefaults(); err != nil {
		t.Error(err)
	}
}

func TestBackoffGrowsToItsCap(t *testing.T) {
	for failures, full := range map[int]time.Duration{
		0: 100 * time.Millisecond, 3: 800 * time.Millisecond, 4: 1600 * time.Millisecond,
		5: 3 * time.Second, 63: 3 * time.Second, 1 << 40: 3 * time.Second,
	} {
		for range 100 {
			if d := jittered(failures); d < full/2 || d >= full {
				t.Fatalf("after %d failures: %v, want %v to %v", failures, d, full/2, full)
			}
		}
	}
}

func TestNamesOfDeploymentsDontMeet(t *testing.T) {
	seen := map[string]string{}
	for _, deployment := range []string{"default", "eu-1", "a", "a-b"} {
		n := namesOf(deployment)
		for _, name := range []string{n.incidents, n.invalid, n.updates, n.parked, n.owner, n.group("webhook", urgent), n.group("webhook", normal), n.group("a.urgent", normal)} {
			if other, taken := seen[name]; taken {
				t.Errorf("%s is a name in %s and in %s", name, other, deployment)
			}
			seen[name] = deployment
		}
	}
	if seen["tocsin.deliver.webhook.urgent"] != "default" || seen["tocsin.eu-1.incidents"] != "eu-1" {
		t.Errorf("got %v", seen)
	}
}

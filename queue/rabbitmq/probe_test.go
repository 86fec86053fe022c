package rabbitmq

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
)

// probe looks and drops what differs from broker to broker.
func probe(t *testing.T, o Options) Probed {
	t.Helper()
	p, err := Probe(patience(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Product != "RabbitMQ" || p.Version == "" {
		t.Errorf("the broker calls itself %q %q", p.Product, p.Version)
	}
	p.Product, p.Version = "", ""
	return p
}

func wantProbed(t *testing.T, got, want Probed) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v, want %+v", got, want)
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	vhost := testenv.Vhost(t)
	o := testOptions(t, vhost)
	o.Exclusive = true
	all := len((&topology{groups: o.Groups}).queues())
	for range 2 { // the first left nothing for the second to find
		wantProbed(t, probe(t, o), Probed{Queues: all, Missing: all})
	}

	b := open(t, o)
	client := peer(t, vhost)
	if err := client.Publish("tocsin.parked", "", true, false, amqp.Publishing{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the parked message is counted", func() bool { return probe(t, o).Parked == 1 })
	wantProbed(t, probe(t, o), Probed{Queues: all, Owned: true, Parked: 1})
	if !b.Connected() {
		t.Error("the engine was disturbed")
	}
}

func TestProbeFindsOtherArguments(t *testing.T) {
	vhost := testenv.Vhost(t)
	o := testOptions(t, vhost)
	client := peer(t, vhost)
	if _, err := client.QueueDeclare("tocsin.incidents", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		t.Fatal(err)
	}
	got := probe(t, o)
	wantProbed(t, got, Probed{Queues: got.Queues, Missing: got.Queues - 1, Different: []string{"tocsin.incidents"}})
}

func TestProbeSaysWhoIsRefused(t *testing.T) {
	for name, change := range map[string]func(*url.URL){
		"password":     func(u *url.URL) { u.User = url.UserPassword("guest", "a-wrong-secret") },
		"virtual host": func(u *url.URL) { u.Path = "/none-of-this-name" },
	} {
		u, err := url.Parse(testenv.RabbitMQURL(t))
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		_, err = Probe(patience(t), testOptions(t, u.String()))
		if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "a-wrong-secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := Probe(patience(t), testOptions(t, "amqp://guest:secret@127.0.0.1:1/"))
	if err == nil || errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "secret") {
		t.Errorf("no broker: got %v", err)
	}
}

// TestProbeFindsWhatTheUserLacks needs a broker of its own: its permissions and its
// alarm are for all.
func TestProbeFindsWhatTheUserLacks(t *testing.T) {
	broker, err := testenv.StartRabbitMQ(t.Context(), testenv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	ctl := func(args ...string) {
		t.Helper()
		if _, err := broker.Ctl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("engine", "sesame")
	ctl("add_user", "engine", "sesame")
	o := testOptions(t, u.String())
	o.Groups = nil
	for _, c := range []struct {
		permissions [3]string // configure, write, read
		denied      []string
	}{
		{[3]string{"", "", ""}, []string{"configure", "read", "write"}},
		{[3]string{`^tocsin\.`, "", `^tocsin\.`}, []string{"write"}},
		{[3]string{`^tocsin\.`, `^tocsin\.`, `^tocsin\.`}, nil},
	} {
		ctl("set_permissions", "-p", "/", "engine", c.permissions[0], c.permissions[1], c.permissions[2])
		wantProbed(t, probe(t, o), Probed{Queues: 4, Missing: 4, Denied: c.denied})
	}
	ctl("set_vm_memory_high_watermark", "0.00000001")
	eventually(t, "the alarm is told", func() bool { return probe(t, o).Alarm == "low on memory" })
}

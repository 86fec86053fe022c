package main

import (
	"io"
	"os"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
)

// TestDemoOverBroker runs all channels over RabbitMQ, and finds nothing there
// afterwards.
func TestDemoOverBroker(t *testing.T) {
	url := testenv.Vhost(t)
	command := &demoCommand{Targets: 40, Channels: defaultChannels, Mix: "gone=10", Queue: url}
	p := &program{stdout: io.Discard, stderr: t.Output(), environ: append(os.Environ(), "TMPDIR="+t.TempDir(), runVariable+"=1")}
	d, err := command.prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	report, err := d.run(t.Context())
	if err != nil || !report.kept() || report.Queue != "amqp" || report.Channels["rss"].Delivered == 0 {
		t.Errorf("report %+v, %v", report, err)
	}
	groups, err := d.groups()
	if want := []string{"rss", "smpp:centre", "smtp:relay", "webhook"}; err != nil || !slices.Equal(slices.Sorted(slices.Values(groups)), want) {
		t.Errorf("groups %v, %v, want %v", groups, err, want)
	}
	names := []string{"incidents", "incidents.invalid", "parked"}
	for _, g := range groups {
		names = append(names, "deliver."+g+".urgent", "deliver."+g+".normal")
	}
	connection, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	there := func(name string) bool {
		channel, err := connection.Channel()
		if err != nil {
			t.Fatal(err)
		}
		defer channel.Close() // an error has closed it
		_, err = channel.QueueDeclarePassive(d.brokerName(name), true, false, false, false, nil)
		return err == nil
	}
	for _, name := range names {
		if !there(name) {
			t.Errorf("the demo had no queue %s", name)
		}
	}
	if err := d.clean(false); err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if there(name) {
			t.Errorf("the demo left the queue %s", name)
		}
	}
}

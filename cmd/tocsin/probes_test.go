package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/tocsin/tocsin/internal/testenv"
)

// A whole engine: results over RabbitMQ and over HTTP have votes together, and what
// they change becomes an incident.
func TestProbesBecomeAnIncident(t *testing.T) {
	url := testenv.Vhost(t)
	port, _ := startCallersEngine(t, t.TempDir(), "http", "queue: "+url+"\nprobes: {page: api, fail: 2}\nlifecycle: {window: 0s}\n", nil)
	base := "http://127.0.0.1:" + port
	read := func(path string) string {
		t.Helper()
		response, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	connection, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	const failed = `{"service":"checkout","location":"fra","ok":false}`
	for _, body := range []string{"[" + failed + "," + failed + "]", "{"} {
		if err := channel.Publish("tocsin.probes", "fra", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return strings.Contains(read("/v1/probes"), `"health":"down"`) })
	eventually(t, func() bool {
		return strings.Contains(read("/v1/incidents?page=api"), `"incident_id":"probe-checkout","status":"investigating"`)
	})
	eventually(t, func() bool {
		got, ok, err := channel.Get("tocsin.incidents.invalid", true)
		return err == nil && ok && string(got.Body) == "{" && got.Headers["tocsin-field"] == "results"
	})

	const well = `{"service":"checkout","location":"fra","ok":true}`
	response, err := http.Post(base+"/v1/probes", "application/json", strings.NewReader(`{"results":[`+strings.Repeat(well+",", 4)+well+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Errorf("answered with %d", response.StatusCode)
	}
	eventually(t, func() bool {
		return strings.Contains(read("/v1/incidents?page=api"), `"incident_id":"probe-checkout","status":"resolved"`)
	})
	for _, series := range []string{`tocsin_probe_results_total{result="accepted"} 7`, `tocsin_probe_results_total{result="invalid"} 1`,
		`tocsin_services{health="operational"} 1`, `tocsin_events_received_total{result="accepted",source="probes"} 2`} {
		// An event is counted once it is in the ledger, where the incident was read.
		eventually(t, func() bool { return strings.Contains(read("/metrics"), series+"\n") })
	}
}

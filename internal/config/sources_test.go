package config

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/tocsin/tocsin/internal/caller"
)

func TestCallers(t *testing.T) {
	c := mustLoad(t, `
tls: {cert: c, key: k, client_ca: a}
sources:
  - name: alertmanager
    routes: [alerts]
    bearer: ["${AM}"]
    networks: [10.0.0.0/8, 192.0.2.7]
    certificates: ["dns:am.example.com"]
  - name: grafana
    routes: [alerts, events]
    keys: ["${AM}"]
    hmac: {form: grafana, secrets: ["${GRAFANA}"], timestamp_header: X-Time}
`, envOf("AM", "hush-token-0123456789", "GRAFANA", "hush-secret-0123456789"))
	name, err := caller.ParseIdentity("dns:am.example.com")
	if err != nil {
		t.Fatal(err)
	}
	want := []caller.Source{
		{Name: "alertmanager", Routes: []string{"alerts"}, Bearer: []string{"hush-token-0123456789"}, Keys: []string{},
			Networks:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32")},
			Certificates: []caller.Identity{name}, Signature: caller.Signature{Secrets: []string{}}},
		{Name: "grafana", Routes: []string{"alerts", "events"}, Bearer: []string{}, Keys: []string{"hush-token-0123456789"},
			Signature: caller.Signature{Form: caller.Grafana, Secrets: []string{"hush-secret-0123456789"}, TimestampHeader: "X-Time"}},
	}
	if got := c.Callers(); !reflect.DeepEqual(got, want) {
		t.Errorf("the sources are\n%#v\nwant\n%#v", got, want)
	}
	if _, err := caller.New(caller.Options{Sources: c.Callers()}); err != nil {
		t.Errorf("what Load lets through can't be used: %v", err)
	}
	if !c.TLS.On() || (TLS{}).On() {
		t.Error("TLS is on with a certificate")
	}
}

func TestOwnRoutes(t *testing.T) {
	c := mustLoad(t, `
sources:
  - {name: vendor, routes: [events, statuspage], keys: ["${KEY}"], page: vendors}
  - {name: nagios, routes: [pagerduty], keys: ["${KEY}"], pagerduty: {public_details: [error code, n]}}
  - {name: open, routes: [mapping], mapping: {group: '"g"', firing: "true", impact: body.impact}}
`, envOf("KEY", "hush-key-0123456789"))
	callers := c.Callers()
	if len(callers) != 2 || !reflect.DeepEqual(callers[0].Routes, []string{"events", "sources/vendor"}) {
		t.Errorf("the callers are %+v", callers)
	}
	if _, err := caller.New(caller.Options{Sources: callers}); err != nil {
		t.Error(err)
	}
	own, err := c.Own()
	if err != nil || len(own) != 2 || own["vendor"].Kind != "statuspage" || own["open"].Kind != "mapping" {
		t.Fatal(own, err)
	}
	reading, err := own["open"].Read(t.Context(), []byte(`{"impact":"minor"}`))
	if err != nil || len(reading.Reports) != 1 || reading.Reports[0].Page != "default" {
		t.Error(reading, err)
	}
	if got := c.PublicOf("nagios"); !slices.Equal(got, []string{"error code", "n"}) || len(c.PublicOf("vendor"))+len(c.PublicOf("")) > 0 {
		t.Errorf("public are %q", got)
	}
	if c.PageOf("vendor") != "vendors" || c.PageOf("open") != "" || c.PageOf("") != "" {
		t.Error("the pages are others")
	}
}

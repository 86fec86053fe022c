package config

import (
	"net/netip"
	"reflect"
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
    hmac: {form: grafana, secrets: ["${GRAFANA}"], timestamp_header: X-Time}
`, envOf("AM", "hush-token-0123456789", "GRAFANA", "hush-secret-0123456789"))
	name, err := caller.ParseIdentity("dns:am.example.com")
	if err != nil {
		t.Fatal(err)
	}
	want := []caller.Source{
		{Name: "alertmanager", Routes: []string{"alerts"}, Bearer: []string{"hush-token-0123456789"},
			Networks:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32")},
			Certificates: []caller.Identity{name}, Signature: caller.Signature{Secrets: []string{}}},
		{Name: "grafana", Routes: []string{"alerts", "events"}, Bearer: []string{},
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

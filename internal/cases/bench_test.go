package cases

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/senders"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	sqlitestore "github.com/tocsin/tocsin/internal/store/sqlite"
)

// BenchmarkNotification measures what a notification of 50 alerts costs until it is
// durable: of a new group, of a known one with something new, and a repeat.
func BenchmarkNotification(b *testing.B) {
	for _, bench := range []struct {
		name   string
		groups int // 0: each its own
		states int
	}{{"new group", 0, 1}, {"change", 1000, 1 << 30}, {"repeat", 1000, 1}} {
		b.Run(bench.name, func(b *testing.B) {
			reader, err := senders.NewAlertmanager(senders.DefaultAlertMapping())
			if err != nil {
				b.Fatal(err)
			}
			db, err := sqlitedb.Open(b.Context(), sqlitedb.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			k := New(sqlitestore.New(db, nil), nil, Options{Rules: lifecycle.DefaultRules()})
			template := notification(50)
			var n atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					i := int(n.Add(1))
					group, state := i, i
					if bench.groups > 0 {
						group, state = i%bench.groups, i/bench.groups%bench.states
					}
					body := []byte(strings.NewReplacer("GROUP", fmt.Sprint(group), "STATE", fmt.Sprint(state)).Replace(template))
					digest := sha256.Sum256(body)
					if _, known := k.Recall(digest); known {
						continue
					}
					reports, err := reader.Reports(body)
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := k.Report(b.Context(), digest, reports); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// notification is a group as Alertmanager sends it; one of its components is named
// after STATE.
func notification(alerts int) string {
	var list []string
	for i := range alerts {
		list = append(list, fmt.Sprintf(`{"status":"firing","labels":{"alertname":"HighErrorRate","cluster":"eu-1","component":"api-%d-STATE",`+
			`"instance":"10.0.0.%d:9100","job":"api","severity":"critical"},"annotations":{"description":"5 %% of requests to api-%d fail.",`+
			`"summary":"Requests fail"},"startsAt":"2026-11-21T04:50:%02d.123Z","endsAt":"0001-01-01T00:00:00Z",`+
			`"generatorURL":"http://prometheus:9090/graph?g0.expr=rate%%28errors%%5B5m%%5D%%29","fingerprint":"%016x"}`, i/40*i, i, i%10, i, i))
	}
	return `{"version":"4","groupKey":"{}:{alertname=\"HighErrorRate\",cluster=\"GROUP\"}","truncatedAlerts":0,"status":"firing","receiver":"tocsin",` +
		`"groupLabels":{"alertname":"HighErrorRate"},"commonLabels":{"alertname":"HighErrorRate","cluster":"eu-1","job":"api","severity":"critical"},` +
		`"commonAnnotations":{"summary":"Requests fail"},"externalURL":"http://alertmanager:9093","alerts":[` + strings.Join(list, ",") + `]}`
}

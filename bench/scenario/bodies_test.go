package scenario

import (
	"encoding/json"
	"fmt"
	"testing"
)

// TestNotificationsOfAGroup looks at what is sent of one group: two changes, each said
// twice, in order.
func TestNotificationsOfAGroup(t *testing.T) {
	var seen []string
	groups := map[string]bool{}
	for n := range 5 * 1000 {
		group, part := alertsPart(n)
		if groups[group] == (part == 0) {
			t.Fatalf("notification %d of %s is its part %d", n, group, part)
		}
		groups[group] = true
		if group != "300" {
			continue
		}
		body, err := alertsBody(n)
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			Alerts []struct{ Status string }
		}
		if err := json.Unmarshal(body, &read); err != nil {
			t.Fatal(err)
		}
		firing := 0
		for _, a := range read.Alerts {
			if a.Status == "firing" {
				firing++
			}
		}
		seen = append(seen, fmt.Sprintf("%d/%d", firing, len(read.Alerts)))
	}
	if got := fmt.Sprint(seen); got != "[50/50 49/50 49/50 48/50 48/50]" {
		t.Errorf("sent are %s", got)
	}
}

func TestResultsOfProbes(t *testing.T) {
	bodies, err := probeBodies()
	if err != nil {
		t.Fatal(err)
	}
	pairs := map[string]bool{}
	for _, body := range bodies {
		var read struct {
			Results []struct{ Service, Location string }
		}
		if err := json.Unmarshal(body, &read); err != nil || len(read.Results) != probesAtOnce {
			t.Fatalf("%d results, %v", len(read.Results), err)
		}
		for _, r := range read.Results {
			pairs[r.Service+" "+r.Location] = true
		}
	}
	if len(bodies) <= probeClients || len(pairs) != probeServices*probePlaces {
		t.Errorf("%d bodies with %d pairs", len(bodies), len(pairs))
	}
}

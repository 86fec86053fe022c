package scenario

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/floor"
)

// The centre tells what came to it, by incident and since a time.
func TestTheCentreTellsWhatCame(t *testing.T) {
	in, ask := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := (&CentreCommand{Hold: 10 * time.Millisecond}).Run(in, out)
		out.CloseWithError(err)
		ended <- err
	}()
	hear := json.NewDecoder(answers)
	var address centreAddress
	if err := hear.Decode(&address); err != nil {
		t.Fatal(err)
	}
	question := func(q centreQuestion) (r centreReport) {
		if err := json.NewEncoder(ask).Encode(q); err != nil {
			t.Fatal(err)
		}
		if err := hear.Decode(&r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	since := time.Now()
	for _, incident := range []string{"A-1", "A-1", "B-1"} {
		c := floor.SMPPCommand{Port: address.Port, Count: 20, Window: 5, Text: smsSize, Incident: incident, SystemID: "a", Password: "b", Limit: time.Minute}
		if err := c.Run(t.Context(), strings.NewReader("go\n"), io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	elapsed := time.Since(since).Seconds()
	if r := question(centreQuestion{"A-1", since}); r.Delivered != 20 || r.Duplicates != 20 || r.Invalid != 0 {
		t.Errorf("an incident that was told twice: %+v", r)
	}
	r := question(centreQuestion{"B-1", since})
	if r.Delivered != 20 || r.Duplicates+r.OrderViolations+r.Invalid != 0 || r.WallS > elapsed || r.P50MS < 30 || r.P99MS < r.P50MS || r.WallS*1000 < r.P99MS {
		t.Errorf("%+v in %v s", r, elapsed)
	}
	if r := question(centreQuestion{"C-1", since}); r.Delivered != 0 || r.Latency != nil {
		t.Errorf("an incident that nobody told: %+v", r)
	}
	ask.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

package scenario

import (
	"testing"

	"github.com/tocsin/tocsin/bench/result"
)

// The engine here tells one target after the other, so that everybody waits for the
// slow ones: those of the hot provider, who come first.
func TestAnEngineThatDoesNotIsolateIsFoundOut(t *testing.T) {
	f := sick("t", "slow=100:50ms") // far more than the others take, also on a busy machine
	f.hot = 20
	s := isolation("t", "", f, Size{Targets: 30, Hosts: 11}, 2)
	b := &Bench{Rig: newRig(t, ""), Rounds: 1, Say: func(string) {}, Save: func() error { return nil }}
	var file result.File
	if err := b.Run(t.Context(), []Scenario{s}, &file); err != nil {
		t.Fatal(err)
	}
	r := file.Scenarios[0]
	if r.Error != "" || r.Sound() || r.Ratio == nil || *r.Ratio <= 2 {
		t.Fatalf("it passes: %+v", r)
	}
	if m := r.Engine.Rounds[0]; m.Deliveries != 10 || m.Lost+m.Duplicates+m.OrderViolations > 0 || m.P99MS < 20*50 {
		t.Errorf("measured %+v", m)
	}
	if m := r.Floor.Rounds[0]; m.Deliveries != 10 || m.Lost > 0 {
		t.Errorf("alone %+v", m)
	}
}

func TestIsolationIsOfWhatTheMatrixSays(t *testing.T) {
	for _, s := range Isolation() {
		if s.size(false).Targets < isolationCrowd || len(s.Results) != 1 || s.Results[0].Goals[0].Against != s.Results[0].Floors[0].Name {
			t.Errorf("%+v", s)
		}
	}
}

package crash

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// small is a trial of a real engine that takes a few seconds.
func small(t *testing.T) Options {
	restOnEngine(t)
	return Options{Engine: os.Getenv(engineVariable), Queue: embedded, Expiry: time.Hour, Targets: 100, Seed: 1, Kills: 2, Folder: t.TempDir()}
}

// What a real engine told its receivers is spoiled in one way before it is judged.
func TestRunFindsWhatIsBroken(t *testing.T) {
	for name, test := range map[string]struct {
		promise string
		doctor  func([]peer.Receipt) []peer.Receipt
	}{
		"nothing": {"", nil},
		"one is lost": {"L", func(all []peer.Receipt) []peer.Receipt {
			lost := deliveryOf(all[slices.IndexFunc(all, peer.Receipt.Accepted)])
			return slices.DeleteFunc(all, func(r peer.Receipt) bool { return deliveryOf(r) == lost })
		}},
		"one came again": {"D", func(all []peer.Receipt) []peer.Receipt {
			again := all[len(all)-1]
			again.ReceivedAt, again.AnsweredAt = again.ReceivedAt.Add(time.Second), again.AnsweredAt.Add(time.Second)
			return append(all, again)
		}},
		"one came late": {"O", func(all []peer.Receipt) []peer.Receipt {
			for i := range all {
				for j := i + 1; j < len(all); j++ {
					older, newer := &all[i], &all[j]
					if older.Target == newer.Target && older.Incident == newer.Incident && older.Sequence < newer.Sequence {
						older.ReceivedAt, newer.ReceivedAt = newer.ReceivedAt, older.ReceivedAt
						older.AnsweredAt, newer.AnsweredAt = newer.AnsweredAt, older.AnsweredAt
						return all
					}
				}
			}
			panic("nobody was told twice of one incident")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := small(t)
			o.Doctor = test.doctor
			out := Run(t.Context(), o)
			if len(out.Losses) != o.Kills || out.Requests < o.Targets {
				t.Errorf("%d kills and %d requests were judged", len(out.Losses), out.Requests)
			}
			if test.promise == "" {
				if len(out.Faults) > 0 || len(out.Broken) > 0 {
					t.Errorf("faults where there are none: %q", out.Faults)
				}
				return
			}
			if out.Broken[test.promise] == 0 || len(out.Faults) == 0 || !strings.HasPrefix(out.Faults[0], test.promise+": ") {
				t.Errorf("found %v: %q", out.Broken, out.Faults)
			}
			for _, name := range []string{"receipts", "engine.log", "trial.log", "data/tocsin.db", "tocsin.yaml"} {
				if file, err := os.Stat(filepath.Join(o.Folder, name)); err != nil || file.Size() == 0 {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestRunEndsEarlyInOrder(t *testing.T) {
	t.Parallel()
	o := small(t)
	ctx, interrupt := context.WithCancel(t.Context())
	o.Kills, o.Killed = 1000, interrupt
	if out := Run(ctx, o); len(out.Losses) != 1 || len(out.Faults) > 0 {
		t.Errorf("%d kills were judged, %q", len(out.Losses), out.Faults)
	}
}

func TestRunWithoutAnEngine(t *testing.T) {
	o := small(t)
	o.Engine = filepath.Join(t.TempDir(), "nothing")
	if out := Run(t.Context(), o); len(out.Faults) == 0 || len(out.Losses) > 0 {
		t.Errorf("%d kills were judged, %q", len(out.Losses), out.Faults)
	}
}

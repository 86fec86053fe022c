package sqlite

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

func TestAFullDatabaseIsAFullStore(t *testing.T) {
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: t.TempDir(), MaxPages: 120})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := New(db, func(*incident.Target) (string, string, error) { return "webhook", "h", nil })
	for n := 0; err == nil && n < 1000; n++ {
		_, err = s.Upsert(t.Context(), []*incident.Target{{Page: "default", Channel: "webhook", Address: fmt.Sprintf("https://%02000d.example", n)}})
	}
	if !errors.Is(err, store.ErrFull) || errors.Is(err, dispatcher.ErrLedgerRefused) {
		t.Errorf("a full database: %v", err)
	}
}

func TestQuestionsLeaveReadersToTheLedger(t *testing.T) {
	s := openFixture(t, t.TempDir(), nil).Store.(*Store)
	begun, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error)
	for range questionsAtOnce {
		go func() {
			ended <- s.ask(t.Context(), func(*sqlitedb.Tx) error {
				begun <- struct{}{}
				<-release
				return nil
			})
		}()
		<-begun
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Incident(over, "default", "INC-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("one question too many: %v", err)
	}
	if _, err := s.Unplanned(t.Context(), 1); err != nil {
		t.Errorf("the ledger beside the questions: %v", err)
	}
	close(release)
	for range questionsAtOnce {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
